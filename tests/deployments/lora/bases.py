"""Tiny transformers of every family that takes adapters, of random weights, with the layers of the real ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from deployments.nets.lora.families import FamilyName
from deployments.nets.lora.places import Base

FAMILY_NAMES: tuple[FamilyName, ...] = ("ltx2", "flux", "qwen-image", "z-image", "wan", "ltx-video")


@cache
def parts_of(family: FamilyName) -> dict[str, torch.nn.Module]:
    """Return the parts of a tiny model in fp32. Whoever changes a weight brings it back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = _build(family)
    return {name: part.eval().requires_grad_(False) for name, part in parts.items()}


@cache
def base_of(family: FamilyName) -> Base:
    """Return what the loader knows of the tiny model."""
    return Base(family, parts_of(family))


def linear_layers(family: FamilyName) -> dict[str, torch.nn.Linear]:
    """Return path -> layer, for every linear layer: `transformer.blocks.0.attn1.to_q`."""
    return {
        f"{part}.{name}": layer
        for part, module in parts_of(family).items()
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear)
    }


def _build(family: FamilyName) -> dict[str, torch.nn.Module]:
    import diffusers

    match family:
        case "ltx2":
            from tests.deployments import tiny_ltx2

            traits = tiny_ltx2._Version(is_gated=True, is_newest=False)
            return {"transformer": tiny_ltx2._transformer(traits), "connectors": tiny_ltx2._connectors(traits)}
        case "wan":
            return {"transformer": _wan(), "transformer_2": _wan()}
        case "flux":
            model: Any = diffusers.FluxTransformer2DModel(
                in_channels=4,
                num_layers=2,
                num_single_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=24,
                pooled_projection_dim=40,
                axes_dims_rope=(4, 4, 8),
                guidance_embeds=True,
            )
        case "qwen-image":
            model = diffusers.QwenImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=24,
                axes_dims_rope=(4, 4, 8),
            )
        case "z-image":
            model = diffusers.ZImageTransformer2DModel(
                dim=32,
                n_layers=2,
                n_refiner_layers=1,
                n_heads=2,
                n_kv_heads=2,
                cap_feat_dim=24,
                axes_dims=[4, 4, 8],
                axes_lens=[32, 32, 32],
            )
        case "ltx-video":
            model = diffusers.LTXVideoTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_attention_heads=2,
                attention_head_dim=16,
                cross_attention_dim=32,
                num_layers=2,
                caption_channels=24,
            )
    return {"transformer": model}


def _wan() -> torch.nn.Module:
    from diffusers import WanTransformer3DModel

    model: torch.nn.Module = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        text_dim=24,
        freq_dim=16,
        ffn_dim=48,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        image_dim=24,
        added_kv_proj_dim=32,
    )
    return model
