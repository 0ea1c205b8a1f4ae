"""From a header to places in the model, with nothing but names and shapes: before a tensor is read, all of it fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deployments.nets.lora.families import LOOKS
from deployments.nets.lora.header import FLOATS, Header
from deployments.nets.lora.keys import Layer, layers_of
from deployments.nets.lora.naming import halves_of, word_of
from deployments.nets.lora.places import Base, Found, Slot
from deployments.nets.lora.ranks import dtype_of, extent, rank_of
from serve_app.core.errors import BadAdapter

_TEXT_ENCODER = re.compile(r"lora_te\d?_|text_encoders?[._\d]|text_model\.|cond_stage")


@dataclass(frozen=True)
class Group:
    """Layers of the model, in one part of it, that stand behind one layer of the file, with their rows of outputs."""

    slots: tuple[Slot, ...]

    @property
    def rows(self) -> tuple[tuple[int, int], ...]:
        """(first, last + 1) of each layer's outputs among the outputs of all."""
        ends, end = [], 0
        for slot in self.slots:
            ends.append((end, end + slot.params.get("weight", (1,))[0]))
            end = ends[-1][1]
        return tuple(ends)


@dataclass(frozen=True)
class Placed:
    """One layer of the file: its tensors by role, its rank (0: differences alone), and where it goes."""

    name: str
    roles: Mapping[str, str]
    rank: int
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Match:
    """A whole file against a base: what is placed, what is not, and what to report."""

    file: str
    placed: tuple[Placed, ...]
    strangers: tuple[str, ...]
    """Layers of the file that have no place; there are some only where that was allowed."""
    layout: str
    dtype: str
    is_partial: bool
    """Whether layers without a place, and pairs that change nothing, were allowed."""

    @property
    def pairs(self) -> int:
        """Low-rank pairs with a place."""
        return sum(1 for layer in self.placed if layer.rank)

    @property
    def ranks(self) -> tuple[int, int]:
        """The least and the greatest; (0, 0) where there are only differences."""
        return extent(layer.rank for layer in self.placed)


def match(header: Header, base: Base, parts: tuple[str, ...] = (), *, is_partial: bool = False) -> Match:
    """Place every layer of a file in ``base``, in the ``parts`` named (all of them by default).

    Raises BadAdapter naming the layer: for half pairs, ranks that differ, shapes that do not fit, a layer reached
    twice, nothing matched; and, unless ``is_partial``, for a layer that has no place.
    """
    layers = layers_of(header.file, header.tensors)
    among = tuple(part for part in base.parts if part in parts or not parts)
    has_named_experts = any(name.startswith("transformer_2.") for name in layers)
    found = {name: base.find(name, among, has_named_experts) for name in layers}
    strangers = tuple(name for name, places in found.items() if not places)
    _refuse_strangers(header.file, base, layers, strangers, is_partial)
    known = {name: places for name, places in found.items() if places}
    placed = tuple(_place(header, layers[name], places) for name, places in known.items())
    _refuse_twice(header.file, placed)
    is_original = any(place.is_original for places in known.values() for place in places.values())
    layout, dtype = _layout(known, layers, is_original), dtype_of(header, layers.values())
    return Match(header.file, placed, strangers, layout, dtype, is_partial)


def _refuse_strangers(
    file: str, base: Base, layers: Mapping[str, Layer], strangers: tuple[str, ...], is_partial: bool
) -> None:
    if not strangers or (is_partial and len(strangers) < len(layers)):
        return
    if len(strangers) < len(layers):
        count = f"{len(strangers)} of {len(layers)} layers have no place in {base.family.title}"
        reason = (
            "a text encoder's, which adapters do not change" if _TEXT_ENCODER.match(strangers[0]) else "no such layer"
        )
        raise BadAdapter(file, strangers[0], f"{count}; this is {reason}")
    looks = next((title for title, pattern in LOOKS if any(re.search(pattern, name) for name in layers)), None)
    guess = f"; it looks made for {looks}" if looks and looks != base.family.title else ""
    raise BadAdapter(file, None, f"none of its {len(layers)} layers has a place in {base.family.title}{guess}")


def _place(header: Header, layer: Layer, found: Mapping[str, Found]) -> Placed:
    """Check one layer's tensors against each other and against the layers of the model."""
    for role in set(layer.roles) - {"alpha"}:
        dtype = header.tensors[layer.roles[role]].dtype
        if dtype not in FLOATS:
            raise BadAdapter(
                header.file, layer.roles[role], f"its dtype is {dtype}, and a difference is not a whole number"
            )
    groups = tuple(Group(place.slots) for place in found.values())
    rank = rank_of(header, layer)
    for group in groups:
        if rank:
            _check_pair(header, layer, group)
        for role, param in (("diff", "weight"), ("diff_bias", "bias"), ("up_bias", "bias")):
            if role in layer.roles:
                _check_difference(header, layer, role, param, group)
    return Placed(layer.name, layer.roles, rank, groups)


def _check_pair(header: Header, layer: Layer, group: Group) -> None:
    inputs = header.tensors[layer.roles["down"]].shape[1]
    outputs = header.tensors[layer.roles["up"]].shape[0]
    for slot in group.slots:
        if not slot.is_linear:
            raise BadAdapter(header.file, layer.name, f"{slot.path} is not a linear layer")
        if "weight" not in slot.params:
            reason = f"{slot.path} is packed in this base: it has no weight of its own to hold the pair against"
            raise BadAdapter(header.file, layer.name, reason)
        if slot.inputs != inputs:
            raise BadAdapter(header.file, layer.name, f"it takes {inputs} inputs, and {slot.path} has {slot.inputs}")
    has = sum(slot.outputs for slot in group.slots)
    if has != outputs:
        paths = " + ".join(slot.path for slot in group.slots)
        raise BadAdapter(header.file, layer.name, f"it gives {outputs} outputs, and {paths} has {has}")


def _check_difference(header: Header, layer: Layer, role: str, param: str, group: Group) -> None:
    """Check a whole difference of a weight or a bias, which may be fused along its first axis."""
    shape = header.tensors[layer.roles[role]].shape
    if lacking := [slot.path for slot in group.slots if param not in slot.params]:
        raise BadAdapter(header.file, layer.roles[role], f"{lacking[0]} has no {param}")
    wanted = [slot.params[param] for slot in group.slots]
    joined = (sum(each[0] for each in wanted), *wanted[0][1:])
    if shape != joined:
        raise BadAdapter(
            header.file, layer.roles[role], f"{shape} is not the {joined} of {group.slots[0].path}.{param}"
        )


def _refuse_twice(file: str, placed: Iterable[Placed]) -> None:
    seen: dict[str, str] = {}
    for layer in placed:
        for slot in (slot for group in layer.groups for slot in group.slots):
            if slot.path in seen:
                raise BadAdapter(file, layer.name, f"{slot.path} is changed twice, by {seen[slot.path]} as well")
            seen[slot.path] = layer.name


def _layout(found: Mapping[str, Mapping[str, Found]], layers: Mapping[str, Layer], is_original: bool) -> str:
    """Return what the naming is known as: ``kohya``, ``comfy``, ``peft`` or ``bare``, and what else there is to it."""
    is_fused = any(len(place.slots) > 1 for places in found.values() for place in places.values())
    more = [*(["original names"] if is_original else []), *(["fused"] if is_fused else [])]
    return " ".join([word_of(next(iter(found))), halves_of(layers), *more])
