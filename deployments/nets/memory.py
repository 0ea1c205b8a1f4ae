"""How much memory a stage's weights take: counted once per storage, wherever the stage keeps its modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch

_DEPTH = 4
"""A stage holds a painter or a filmer, that a pipeline, and that its components."""


def weights_bytes(stage: object) -> dict[str, int]:
    """Return the bytes of every parameter and buffer that ``stage`` holds, by dtype (``bfloat16``).

    Modules are found in the stage's attributes, in those of our own objects there, in lists and mappings, and in the
    components of diffusers' pipelines. A tensor that several modules share is counted once.
    """
    seen: set[int] = set()
    found: Counter[str] = Counter()
    for module in _modules(stage, _DEPTH, set()):
        for tensor in (*module.parameters(), *module.buffers()):
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            found[str(tensor.dtype).removeprefix("torch.")] += tensor.numel() * tensor.element_size()
    return dict(found)


def _modules(value: object, depth: int, seen: set[int]) -> Iterator[torch.nn.Module]:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, torch.nn.Module):
        yield value
        return
    for each in _parts(value):
        yield from _modules(each, depth - 1, seen)


def _parts(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return list(value)
    components = getattr(value, "components", None) if type(value).__module__.startswith("diffusers.") else None
    if isinstance(components, Mapping):
        return list(components.values())
    if type(value).__module__.partition(".")[0] != "deployments":
        return []
    slots = [getattr(value, name) for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)]
    return [*getattr(value, "__dict__", {}).values(), *slots]
