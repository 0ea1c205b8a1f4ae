"""The one form that every file is brought into: layer of the diffusers model -> (A, B, scale), and plain differences.

A layer's weight W becomes ``W + strength * scale * B @ A``. Nothing is averaged, rounded or rescaled on the way here:
the tensors are the file's own numbers, cut into rows where the authors' code fuses layers that diffusers keeps apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from deployments.nets.lora.header import Header
from deployments.nets.lora.match import Group, Match, Placed
from deployments.nets.lora.scales import Scales
from serve_app.core.errors import BadAdapter


@dataclass(frozen=True)
class Pair:
    """What one layer of the model gets: ``scale * up @ down``."""

    down: torch.Tensor
    """A: (rank, inputs)."""
    up: torch.Tensor
    """B: (outputs, rank)."""
    scale: float
    """alpha / rank, with the rank of the file even where the pair was cut into narrower ones."""


@dataclass(frozen=True)
class Change:
    """What one layer of the model gets from a file: a pair, or differences of its weight and bias, or both."""

    path: str
    """`transformer.blocks.0.attn1.to_q`."""
    pair: Pair | None
    differences: dict[str, torch.Tensor]
    """``weight``, ``bias`` -> what is added to it, times the strength alone."""


class Reader:
    """Reads a matched file layer by layer, and holds one layer's tensors at a time."""

    def __init__(self, path: Path, header: Header, match: Match) -> None:
        self._path, self._header, self._match = path, header, match
        self._scales = Scales(header)

    def changes(self) -> Iterator[tuple[Placed, list[Change]]]:
        """Yield every layer of the file with its changes to the model, on the CPU, in the file's dtype (FP8: bf16).

        A layer of the model whose rows of a fused pair are all zeros gets no change: that is how files say so; nor does
        a difference of zeros count. Raises BadAdapter naming the layer whose numbers are not finite, or whose pair
        changes nothing (unless the match is partial).
        """
        with _opened(self._path, self._header.file) as file:
            for layer in self._match.placed:
                tensors = {role: _arithmetic(file.get_tensor(key)) for role, key in layer.roles.items()}
                empty = self._check_finite(layer, tensors)
                has_pair = bool(layer.rank) and not empty & {"down", "up", "alpha"}
                groups = layer.groups
                changes = [change for group in groups for change in self._changes(layer, group, tensors, has_pair)]
                if layer.rank and not self._match.is_partial and not any(change.pair for change in changes):
                    raise BadAdapter(self._header.file, layer.name, "it is all zeros and would change nothing")
                yield layer, changes

    def _check_finite(self, layer: Placed, tensors: dict[str, torch.Tensor]) -> set[str]:
        """Return the roles whose tensors are all zeros; raise BadAdapter for one with NaN or infinity in it."""
        empty = set()
        for role, tensor in tensors.items():
            extent = _extent(tensor)
            if not all(map(math.isfinite, extent)):
                raise BadAdapter(self._header.file, layer.roles[role], "it holds a value that is not a finite number")
            if extent == (0.0, 0.0):
                empty.add(role)
        return empty

    def _changes(
        self, layer: Placed, group: Group, tensors: dict[str, torch.Tensor], has_pair: bool
    ) -> Iterator[Change]:
        pairs: list[Pair | None] = [None] * len(group.slots)
        scale = 1.0
        if layer.rank:
            alpha = float(tensors["alpha"]) if "alpha" in tensors else None
            scale = self._scales.of(layer.name, group.slots[0].path, layer.rank, alpha)
            pairs = _split(group, tensors["down"], tensors["up"], scale) if has_pair and scale else pairs
        for slot, rows, pair in zip(group.slots, group.rows, pairs, strict=True):
            differences = _differences(tensors, rows, scale)
            if slot.is_swapped:
                differences = {name: _swap(tensor) for name, tensor in differences.items()}
                pair = pair and Pair(pair.down, _swap(pair.up), pair.scale)
            if pair or differences:
                yield Change(slot.path, pair, differences)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise BadAdapter(name, None, f"it cannot be read: {error}") from error


def _split(group: Group, down: torch.Tensor, up: torch.Tensor, scale: float) -> list[Pair | None]:
    """Return each layer's own pair from a fused one: its rows of B with all of A, which is exact for any B.

    Where B is block-diagonal (three adapters that were stacked) each layer's block of A and B is enough, and as exact.
    None where a layer's rows are all zeros.
    """
    count, rank = len(group.slots), down.shape[0]
    if count == 1:
        return [Pair(down, up, scale)]
    width = rank // count
    is_stacked = rank % count == 0 and _is_block_diagonal(group, up, width)
    pairs: list[Pair | None] = []
    for index, (first, last) in enumerate(group.rows):
        columns = slice(index * width, (index + 1) * width) if is_stacked else slice(0, rank)
        own_down, own_up = down[columns] if is_stacked else down, up[first:last, columns]
        is_nothing = _is_zero(own_up) or (is_stacked and _is_zero(own_down))
        pairs.append(None if is_nothing else Pair(own_down, own_up.contiguous() if is_stacked else own_up, scale))
    return pairs


def _is_block_diagonal(group: Group, up: torch.Tensor, width: int) -> bool:
    rest = up.clone()
    for index, (first, last) in enumerate(group.rows):
        rest[first:last, index * width : (index + 1) * width] = 0
    return _is_zero(rest)


def _differences(tensors: dict[str, torch.Tensor], rows: tuple[int, int], scale: float) -> dict[str, torch.Tensor]:
    """Return what is added to a layer's weight and bias. The bias of a pair's B counts alpha / rank, as B does."""
    first, last = rows
    found: dict[str, torch.Tensor] = {}
    if "diff" in tensors:
        found["weight"] = tensors["diff"][first:last]
    if "diff_bias" in tensors:
        found["bias"] = tensors["diff_bias"][first:last]
    if "up_bias" in tensors:
        found["bias"] = found.get("bias", 0) + scale * tensors["up_bias"].float()[first:last]
    return {name: tensor for name, tensor in found.items() if not _is_zero(tensor)}


def _swap(tensor: torch.Tensor) -> torch.Tensor:
    first, second = tensor.chunk(2, dim=0)
    return torch.cat([second, first])


def _is_zero(tensor: torch.Tensor) -> bool:
    return _extent(tensor) == (0.0, 0.0)


def _extent(tensor: torch.Tensor) -> tuple[float, float]:
    """Return the least and the greatest value; NaN if there is one. One pass, six times as fast as `isfinite`."""
    if not tensor.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(tensor)
    return float(low), float(high)


def _arithmetic(tensor: torch.Tensor) -> torch.Tensor:
    """Return FP8 as bf16, which holds all of its values exactly; torch has no arithmetic for FP8."""
    return tensor.to(torch.bfloat16) if tensor.dtype in (torch.float8_e4m3fn, torch.float8_e5m2) else tensor
