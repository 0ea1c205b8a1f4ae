"""A tensor's name in two: the layer that it belongs to, and what it is to that layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from serve_app.core.errors import BadAdapter

_ROLES = (
    ("down", r"[._]lora_A(\.\w+)?\.weight|[._]lora_A|[._]lora[._]down(\.weight)?|\.lora_linear_layer\.down\.weight"),
    ("up", r"[._]lora_B(\.\w+)?\.weight|[._]lora_B|[._]lora[._]up(\.weight)?|\.lora_linear_layer\.up\.weight"),
    ("alpha", r"\.alpha"),
    ("up_bias", r"[._]lora_B(\.\w+)?\.bias|[._]lora[._]up\.bias"),
    ("diff", r"\.diff"),
    ("diff_bias", r"\.diff_b"),
)
_KNOWN = tuple((role, re.compile(rf"(.+?)(?:{pattern})")) for role, pattern in _ROLES)
FOREIGN = {
    "DoRA": r"dora_scale|lora_magnitude_vector",
    "LoKr": r"lokr_(w|t)",
    "LoHa": r"hada_(w|t)",
    "OFT or BOFT": r"oft_|\.oft|boft_",
    "GLoRA": r"\.(a1|a2|b1|b2)\.weight",
    "(IA)3": r"ia3_|\.on_input",
    "a convolution in three factors": r"lora_mid",
    "scaled FP8": r"(scale_weight|weight_scale|scale_input|input_scale)$",
    "a norm's own weights": r"\.w_norm|\.b_norm",
}
"""What other methods call their tensors. Dropping these would leave another, wrong adapter."""


@dataclass
class Layer:
    """A layer of the file. A tensor's role is ``down``, ``up``, ``alpha``, ``up_bias``, ``diff`` or ``diff_bias``."""

    name: str
    roles: dict[str, str] = field(default_factory=dict)
    """Role -> the tensor's full name."""


def layers_of(file: str, keys: Mapping[str, object]) -> dict[str, Layer]:
    """Return layer -> its tensors, for every one of ``keys``.

    Raises BadAdapter for a tensor of a method other than LoRA (DoRA, LoKr, ...), for one that nobody knows, and for a
    role that is filled twice.
    """
    layers: dict[str, Layer] = {}
    for key in keys:
        name, role = _split(file, key)
        layer = layers.setdefault(name, Layer(name))
        if role in layer.roles:
            raise BadAdapter(file, name, f"{layer.roles[role]} and {key} are one and the same")
        layer.roles[role] = key
    return layers


def _split(file: str, key: str) -> tuple[str, str]:
    for method, pattern in FOREIGN.items():
        if re.search(pattern, key):
            raise BadAdapter(file, key, f"this is {method}, which is not plain LoRA and is not applied")
    for role, known in _KNOWN:
        if found := known.fullmatch(key):
            return found[1], role
    raise BadAdapter(file, key, "nobody knows what this tensor is; lora_A and lora_B, or lora_down and lora_up, are")
