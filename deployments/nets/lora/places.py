"""Where the layers of a file belong in a model: every name that a layer may have, and the layer of diffusers behind it.

Names are compared without the difference between a dot and an underscore: that is all that kohya's flat names lose, and
no two layers of the families here differ by it (a test holds them to that).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import torch

from deployments.nets.lora.families import FAMILIES, Family, FamilyName
from deployments.nets.lora.naming import PREFIXES
from serve_app.core.errors import Misconfigured


@dataclass(frozen=True)
class Slot:
    """A layer of the model that may be changed."""

    path: str
    """With its part: `transformer.blocks.0.attn1.to_q`."""
    is_linear: bool
    params: Mapping[str, tuple[int, ...]]
    """``weight`` (of a linear layer: outputs, inputs) and perhaps ``bias``: their shapes."""
    is_swapped: bool = False
    """Whether the two halves of its outputs stand the other way round where the layer has its authors' name."""

    @property
    def part(self) -> str:
        """`transformer`."""
        return self.path.partition(".")[0]

    @property
    def outputs(self) -> int:
        """Of a linear layer."""
        return self.params["weight"][0]

    @property
    def inputs(self) -> int:
        """Of a linear layer."""
        return self.params["weight"][1]


@dataclass(frozen=True)
class Found:
    """The layers behind one name, in one part of the model: several where the authors fuse them, in that order."""

    slots: tuple[Slot, ...]
    is_original: bool
    """Whether the name is the authors', not diffusers'."""


class Base:
    """The layers of one loaded model (or of one without storage, on `meta`), by every name that files use."""

    def __init__(self, family: FamilyName, parts: Mapping[str, torch.nn.Module]) -> None:
        """Look at `parts`, such as the `transformer`. Raise Misconfigured for a part that the family has not."""
        self.family: Family = FAMILIES[family]
        self.name = family
        self.parts = tuple(parts)
        if strangers := set(parts) - set(self.family.parts):
            raise Misconfigured("adapters", f"{self.family.title} has no {sorted(strangers)[0]} that adapters change")
        self._names: dict[str, dict[str, Found]] = {part: {} for part in parts}
        for part, module in parts.items():
            self._enter(part, module)

    def find(self, name: str, among: tuple[str, ...], has_named_experts: bool = False) -> dict[str, Found]:
        """Return part of the model -> what is behind a file's layer ``name``, ``among`` some parts; empty for nothing.

        Each of two experts is a `transformer` in its own file; only ``has_named_experts`` makes that name the first.
        """
        for prefix, part in PREFIXES:
            if not name.startswith(prefix):
                continue
            rest = name.removeprefix(prefix)
            is_named = bool(part) and (has_named_experts or part not in self.family.experts)
            wanted = tuple(each for each in among if each == part or not is_named)
            flat = flatten(rest)
            found = {each: self._names[each][flat] for each in wanted if flat in self._names[each]}
            if found := found or (self.find(rest, wanted, has_named_experts) if prefix else {}):
                return found
        return {}

    def _enter(self, part: str, module: torch.nn.Module) -> None:
        names, originals = self._names[part], dict[str, dict[int, Slot]]()
        for slot in _slots(part, module):
            path = slot.path.removeprefix(f"{part}.")
            names[flatten(path)] = Found((slot,), is_original=False)
            if original := original_name(self.family.renamed, path):
                row, name = original
                originals.setdefault(name, {})[row] = replace(slot, is_swapped=path in self.family.swapped)
        for name, slots in originals.items():
            in_order = tuple(slots[row] for row in sorted(slots))
            names.setdefault(flatten(name), Found(in_order, is_original=True))


def flatten(name: str) -> str:
    """Return ``name`` as kohya's scripts write it."""
    return name.replace(".", "_")


def _slots(part: str, module: torch.nn.Module) -> Iterator[Slot]:
    for name, layer in module.named_modules():
        if getattr(layer, "fused_projections", False):
            raise Misconfigured("adapters", f"{part}.{name} has fused projections, and adapters would have no effect")
        params = {key: tuple(value.shape) for key, value in layer.named_parameters(recurse=False)}
        if set(params) & {"weight", "bias"} or isinstance(layer, torch.nn.Linear):
            yield Slot(f"{part}.{name}", isinstance(layer, torch.nn.Linear), params)


def original_name(renamed: tuple[tuple[str, str], ...], path: str) -> tuple[int, str] | None:
    """Return the row of ``path`` in the table and its name in the authors' code, if they differ."""
    for row, (ours, theirs) in enumerate(renamed):
        if found := _pattern(ours).fullmatch(path):
            return row, theirs.format(**found.groupdict())
    return None


@cache
def _pattern(row: str) -> re.Pattern[str]:
    text = re.escape(row).replace(r"\{n\}", r"(?P<n>\d+)").replace(r"\{x\}", r"(?P<x>.+)")
    return re.compile(text)
