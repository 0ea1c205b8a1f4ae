"""What the ways of naming layers are called, and what stands before a layer's name in each of them."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.nets.lora.keys import Layer

PREFIXES = (
    ("base_model.model.", ""),
    ("model.diffusion_model.", ""),
    ("diffusion_model.", ""),
    ("lora_transformer_", ""),
    ("lora_unet_", ""),
    ("lycoris_", ""),
    ("transformer_2.", "transformer_2"),
    ("transformer.", "transformer"),
    ("connectors.", "connectors"),
    ("unet.", ""),
    ("", ""),
)
"""What may stand before a layer's name, and the part of the model that it names, if it does."""

_WORDS = (
    ("lora_unet_", "kohya"),
    ("lycoris_", "kohya"),
    ("lora_transformer_", "kohya"),
    ("diffusion_model.", "comfy"),
    ("model.diffusion_model.", "comfy"),
    ("base_model.", "peft of itself"),
    ("transformer.", "peft"),
    ("transformer_2.", "peft"),
    ("connectors.", "peft"),
)


def word_of(layer: str) -> str:
    """Return what the naming of ``layer`` is known as: ``kohya``, ``comfy``, ``peft``, ``peft of itself``, ``bare``."""
    return next((word for prefix, word in _WORDS if layer.startswith(prefix)), "bare")


def halves_of(layers: Mapping[str, Layer]) -> str:
    """Return what a file calls the two halves of a pair: ``A/B`` or ``down/up``."""
    keys = (key for layer in layers.values() for key in layer.roles.values())
    return "down/up" if any("lora_down" in key or "lora.down" in key for key in keys) else "A/B"
