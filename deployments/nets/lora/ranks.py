"""A pair's rank, from the header alone, if its two halves are there and fit each other."""

from __future__ import annotations

from collections.abc import Iterable

from deployments.nets.lora.header import Header
from deployments.nets.lora.keys import Layer
from serve_app.core.errors import BadAdapter


def rank_of(header: Header, layer: Layer) -> int:
    """Return the rank of a layer's pair, 0 if it has none and needs none. Raises BadAdapter naming the layer."""
    halves = [role for role in ("down", "up") if role in layer.roles]
    if len(halves) == 1:
        has, lacks = ("lora_A (down)", "lora_B (up)") if halves == ["down"] else ("lora_B (up)", "lora_A (down)")
        raise BadAdapter(header.file, layer.name, f"it has {has} and no {lacks}")
    if not halves:
        if lone := [role for role in ("alpha", "up_bias") if role in layer.roles]:
            raise BadAdapter(header.file, layer.name, f"it has {layer.roles[lone[0]]} and no pair to go with it")
        return 0
    down, up = (header.tensors[layer.roles[role]].shape for role in ("down", "up"))
    if len(down) != 2 or len(up) != 2:
        raise BadAdapter(header.file, layer.name, f"{down} and {up} are not two matrices")
    if down[0] != up[1] or not down[0]:
        raise BadAdapter(header.file, layer.name, f"the ranks differ: {down[0]} in {down} and {up[1]} in {up}")
    if "alpha" in layer.roles and (shape := header.tensors[layer.roles["alpha"]].shape) not in ((), (1,)):
        raise BadAdapter(header.file, layer.roles["alpha"], f"an alpha is one number, not {shape}")
    return down[0]


def extent(ranks: Iterable[int]) -> tuple[int, int]:
    """Return the least and the greatest rank but 0; (0, 0) where there are only differences."""
    found = [rank for rank in ranks if rank]
    return (min(found), max(found)) if found else (0, 0)


def dtype_of(header: Header, layers: Iterable[Layer]) -> str:
    """Return the dtypes of a file's pairs and differences, joined by +."""
    keys = {key for layer in layers for role, key in layer.roles.items() if role != "alpha"}
    return "+".join(sorted({header.tensors[key].dtype for key in keys}))
