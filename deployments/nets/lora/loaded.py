"""An adapter's tensors where they are used: on the device, in the dtype of the layers, each of them once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from deployments.nets.lora.header import read_header
from deployments.nets.lora.match import match
from deployments.nets.lora.normal import Change, Pair, Reader
from deployments.nets.lora.places import Base
from serve_app.core.errors import BadAdapter

_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_WRITABLE = (torch.float32, torch.bfloat16, torch.float16)
_BYTES = {"fp8_e4m3": 2, "fp8_e5m2": 2, "fp16": 2, "bf16": 2, "fp32": 4, "fp64": 8}
"""Of one number as it is read: FP8 becomes bf16."""


@dataclass(frozen=True)
class Loaded:
    """A file's changes, by the path of the layer that they are for, and the memory that they take."""

    changes: Mapping[str, Change]
    layers: Mapping[str, torch.nn.Module]
    """The layers themselves, by path: looking them up is most of what changing adapters would take."""
    size_bytes: int

    def touches(self, part: str) -> bool:
        """Whether it changes anything in ``part`` of the model."""
        return any(path.startswith(f"{part}.") for path in self.changes)


@dataclass(frozen=True)
class Seat:
    """Where tensors are put. A ``dtype`` of None keeps the file's own (FP8 becomes bf16, exactly), for baking."""

    device: torch.device
    dtype: torch.dtype | None


@dataclass(frozen=True)
class Source:
    """A file, what it is called in errors, and how it is to be read."""

    path: Path
    name: str
    parts: tuple[str, ...] = ()
    is_partial: bool = False


def load(source: Source, base: Base, modules: Mapping[str, torch.nn.Module], seat: Seat) -> Loaded:
    """Read, check and place all of a file. Raises BadAdapter.

    Halves that several layers share (A of a fused pair, a pair for both experts) are one tensor here as well.
    """
    header = read_header(source.path, source.name)
    matched = match(header, base, source.parts, is_partial=source.is_partial)
    changes: dict[str, Change] = {}
    layers: dict[str, torch.nn.Module] = {}
    for _, found in Reader(source.path, header, matched).changes():
        moved: dict[tuple[int, int, torch.dtype], torch.Tensor] = {}
        for change in found:
            layers[change.path] = layer_at(modules, change.path)
            _refuse_unwritable(source.name, change, layers[change.path])
            dtype = seat.dtype and _computing(layers[change.path], seat.dtype)
            pair = change.pair and Pair(
                _move(change.pair.down, seat.device, dtype, moved),
                _move(change.pair.up, seat.device, dtype, moved),
                change.pair.scale,
            )
            differences = {key: tensor.to(seat.device, copy=True) for key, tensor in change.differences.items()}
            changes[change.path] = Change(change.path, pair, differences)
    return Loaded(changes, layers, _bytes_of(changes))


def estimate_bytes(source: Source, base: Base, modules: Mapping[str, torch.nn.Module], seat: Seat) -> int:
    """Return what ``load`` will take at the most, from the header alone. Raises BadAdapter.

    Layers that compute in several dtypes get a copy of what they share for each; a whole difference is kept for each
    layer in the file's own dtype.
    """
    header = read_header(source.path, source.name)
    count = 0
    for layer in match(header, base, source.parts, is_partial=source.is_partial).placed:
        paths = [slot.path for group in layer.groups for slot in group.slots]
        for role, key in layer.roles.items():
            entry = header.tensors[key]
            if role in ("down", "up"):
                seats = {seat.dtype and _computing(layer_at(modules, path), seat.dtype) for path in paths}
                sizes = [_BYTES.get(entry.dtype, 4) if dtype is None else dtype.itemsize for dtype in seats]
                count += math.prod(entry.shape) * sum(sizes)
            elif role != "alpha":
                size = 4 if role == "up_bias" else _BYTES.get(entry.dtype, 4)
                count += math.prod(entry.shape) * size * len(layer.groups)
    return count


def _computing(layer: torch.nn.Module, default: torch.dtype) -> torch.dtype:
    """Return what a layer computes in: its weight's dtype, unless that is FP8, which is only for storing."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return default if weight.dtype in _FP8 else weight.dtype


def _refuse_unwritable(name: str, change: Change, layer: torch.nn.Module) -> None:
    """Raise BadAdapter for a difference of a whole weight or bias whose storage cannot take it."""
    for key in change.differences:
        stored = getattr(layer, key)
        if stored.dtype not in _WRITABLE:
            kept = str(stored.dtype).removeprefix("torch.")
            reason = f"its whole difference cannot be added to a {key} that this base stores as {kept}; only pairs can"
            raise BadAdapter(name, change.path, reason)


def layer_at(modules: Mapping[str, torch.nn.Module], path: str) -> torch.nn.Module:
    """Return the layer at ``path`` (`transformer.blocks.0.attn1.to_q`)."""
    part, _, rest = path.partition(".")
    return modules[part].get_submodule(rest)


def _move(
    tensor: torch.Tensor,
    device: torch.device,
    dtype: torch.dtype | None,
    moved: dict[tuple[int, int, torch.dtype], torch.Tensor],
) -> torch.Tensor:
    target = dtype or tensor.dtype
    key = (tensor.data_ptr(), tensor.numel(), target)
    if key not in moved:
        moved[key] = tensor.to(device, target, copy=True)  # what was read is the file itself, mapped into memory
    return moved[key]


def _bytes_of(changes: Mapping[str, Change]) -> int:
    storages: dict[int, int] = {}
    for change in changes.values():
        tensors = [*change.differences.values(), *((change.pair.down, change.pair.up) if change.pair else ())]
        for tensor in tensors:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
