"""Qwen-Image-Lightning: an adapter and a schedule for 4 or 8 steps without guidance, taken whole or not at all.

Source: github.com/ModelTC/Qwen-Image-Lightning. An adapter of which a part matches nothing gives a picture all the
same, only a bad one; libraries leave such parts out with a line in a log.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from deployments.nets.lora.header import read_header
from deployments.nets.lora.match import match
from deployments.nets.lora.normal import Change, Reader
from deployments.nets.lora.places import Base
from serve_app.core import digest
from serve_app.core.errors import BadAdapter, Misconfigured, NotFetched
from serve_app.core.obtain import obtain
from serve_app.core.source import HubFile, LocalPath

_WHERE = "weights.lightning"

SCHEDULE: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "base_image_seq_len": 256,
    "max_image_seq_len": 8192,
    "base_shift": math.log(3),
    "max_shift": math.log(3),
    "shift": 1.0,
    "shift_terminal": None,
    "use_dynamic_shifting": True,
    "time_shift_type": "exponential",
}
"""A shift of 3 whatever the picture's size, and no stretching to a last level: what the adapter was distilled with."""


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Return the scheduler of SCHEDULE; the one that is published with Qwen-Image shifts and stretches otherwise."""
    return FlowMatchEulerDiscreteScheduler(**SCHEDULE)


def merge(transformer: torch.nn.Module, source: HubFile | LocalPath, sha256: str | None = None) -> int:
    """Add the adapter at ``source`` to the weights, once; it is fetched if it is not here.

    Returns how many modules were changed: all that are in the file, or none. Raises Misconfigured naming
    `weights.lightning` for what cannot be had, is not of ``sha256``, does not fit, or is not the same in every block.
    """
    changes = _changes(transformer, source, sha256)
    _check_blocks([change.path.removeprefix("transformer.") for change in changes], transformer)
    with torch.no_grad():
        for change in changes:
            layer = transformer.get_submodule(change.path.removeprefix("transformer."))
            for key, delta in _deltas(change).items():
                weight = layer.get_parameter(key)
                # In fp32: two roundings to bf16 would lose what a small update adds.
                weight.copy_(weight.float() + delta.to(weight.device))
    return len(changes)


def _changes(transformer: torch.nn.Module, source: HubFile | LocalPath, sha256: str | None) -> list[Change]:
    if isinstance(source, LocalPath) and not Path(source.path).is_file():
        raise Misconfigured(_WHERE, f"there is no file {source.path}, nor is it owner/name/file.safetensors")
    try:
        path = obtain(source)
        header = read_header(path)
        if sha256 is not None and (has := digest.of_file(path)) != sha256:
            raise Misconfigured(f"{_WHERE}_sha256", f"{source.title} has {has}")
        found = match(header, Base("qwen-image", {"transformer": transformer}))
        return [change for _, changes in Reader(path, header, found).changes() for change in changes]
    except (BadAdapter, NotFetched) as error:
        raise Misconfigured(_WHERE, str(error)) from error


def _deltas(change: Change) -> dict[str, torch.Tensor]:
    """Return what is added to a layer's weight and bias, in fp32."""
    deltas = {key: tensor.float() for key, tensor in change.differences.items()}
    if change.pair:
        product = change.pair.scale * (change.pair.up.float() @ change.pair.down.float())
        deltas["weight"] = deltas.get("weight", 0) + product
    return deltas


def _check_blocks(names: Iterable[str], transformer: torch.nn.Module) -> None:
    """Raise Misconfigured unless every block is adapted in the same places: distillation leaves no block out."""
    blocks = len(transformer.get_submodule("transformer_blocks"))  # type: ignore[arg-type]
    inside = [name.split(".", 2) for name in names if name.startswith("transformer_blocks.")]
    counts = Counter(place for _, _, place in inside)
    if holes := sorted(place for place, count in counts.items() if count != blocks):
        found = f"{len(inside)} modules of at least {blocks * len(counts)}"
        raise Misconfigured(_WHERE, f"{found}: {holes[0]} is adapted in {counts[holes[0]]} of {blocks} blocks")
    if not counts:
        raise Misconfigured(_WHERE, "no block is adapted")
