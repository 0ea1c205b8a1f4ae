"""What a generator needs to take adapters: one object, and one ``with`` around each render."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from deployments.nets.lora.apply import Baked, Unfused
from deployments.nets.lora.cache import AdapterCache
from deployments.nets.lora.families import FAMILIES, FamilyName
from deployments.nets.lora.loaded import Loaded, Seat, Source, estimate_bytes, load
from deployments.nets.lora.places import Base
from serve_app.core.adapter import Adapter, Adapters
from serve_app.core.errors import BadAdapter
from serve_app.core.stage import Context

_MOST_PROVEN = 1000
Way = Literal["unfused", "baked"]


@dataclass(frozen=True)
class Setting:
    """How a replica applies adapters: ``budget_bytes`` are for those that it keeps loaded."""

    way: Way
    budget_bytes: int
    device: torch.device
    dtype: torch.dtype
    """What layers compute in whose weights are stored in FP8."""


@dataclass(frozen=True)
class Item:
    """One adapter of a render, with its tensors."""

    adapter: Adapter
    loaded: Loaded
    was_loaded: bool

    @property
    def identity(self) -> tuple[Any, ...]:
        """What decides its effect."""
        return (*_key(self.adapter), self.adapter.strength)


@dataclass(frozen=True)
class Outfit:
    """What a model wears during one render; adapters of strength 0 are not among it."""

    items: tuple[Item, ...]

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells this state of the model from every other; empty for the base."""
        return tuple(item.identity for item in self.items)

    def state_of(self, part: str) -> str:
        """Return what tells apart the states of one ``part`` of the model, for whoever keeps its results."""
        touching = [item.identity for item in self.items if item.loaded.touches(part)]
        return repr(touching) if touching else ""

    @property
    def worn(self) -> Sequence[tuple[Loaded, float]]:
        """The tensors with their strengths, in the request's order."""
        return [(item.loaded, item.adapter.strength) for item in self.items]


class Rack:
    """The adapters of one replica. Not for two renders at once: a model has one state at a time."""

    def __init__(self, base: Base, modules: Mapping[str, torch.nn.Module], setting: Setting, context: Context) -> None:
        """`modules` are the parts of the model that `base` was made of."""
        self._base, self._modules, self._setting, self._context = base, modules, setting, context
        is_baked = setting.way == "baked"
        # What is baked is needed once per set, and in the file's own numbers; what is not, at every step.
        self._seat = Seat(torch.device("cpu"), None) if is_baked else Seat(setting.device, setting.dtype)
        self._cache = AdapterCache(setting.budget_bytes, str(self._seat.device))
        self._baked = Baked(modules, setting.device) if is_baked else None
        self._proven: set[tuple[Any, ...]] = set()

    @classmethod
    def of(cls, family: FamilyName, pipeline: Any, setting: Setting, context: Context) -> Rack:
        """Return the rack of a pipeline of diffusers: its parts are those that adapters of the family change."""
        parts = {part: getattr(pipeline, part, None) for part in FAMILIES[family].parts}
        modules = {part: module for part, module in parts.items() if module is not None}
        return cls(Base(family, modules), modules, setting, context)

    @contextmanager
    def wear(self, adapters: Adapters | None) -> Iterator[Outfit]:
        """Apply exactly ``adapters`` inside ``with``: the model's state follows from the request and from nothing else.

        Notes ``adapters``. Raises BadAdapter for a file that does not fit, and for one that changes no output;
        OutOfMemory when those of one request exceed the budget; Unknown when a file is gone.
        """
        with ExitStack() as stack:
            items = [self._fetch(stack, adapter) for adapter in (adapters.items if adapters else ())]
            if items:
                self._context.note("adapters", [self._facts(item) for item in items])
            outfit = Outfit(tuple(item for item in items if item.adapter.strength != 0))
            if self._baked is not None:
                self._refuse_silent(outfit, self._baked.hold(outfit.identity, outfit.worn))
            elif outfit.items:
                stack.enter_context(self._hooked(outfit))
            yield outfit

    def _fetch(self, stack: ExitStack, adapter: Adapter) -> Item:
        if adapter.base != self._base.name:
            reason = f"it was verified for {adapter.base}, and this is {self._base.name}"
            raise BadAdapter(adapter.name, None, reason)
        path = self._context.artifacts.path_of(adapter.digest)
        source = Source(path, adapter.name, adapter.parts, adapter.is_partial)
        size_bytes = estimate_bytes(source, self._seat)
        lent = self._cache.borrow(
            _key(adapter), size_bytes, lambda: load(source, self._base, self._modules, self._seat)
        )
        loaded, was_loaded = stack.enter_context(lent)
        return Item(adapter, loaded, was_loaded)

    @contextmanager
    def _hooked(self, outfit: Outfit) -> Iterator[None]:
        unfused = Unfused(self._modules, outfit.worn)
        with unfused.applied():
            if outfit.identity not in self._proven:
                self._refuse_silent(outfit, unfused.silent(self._setting.device))
                self._proven = {*(self._proven if len(self._proven) < _MOST_PROVEN else ()), outfit.identity}
            yield
            self._tell_unused(unfused)

    def _refuse_silent(self, outfit: Outfit, silent: list[str]) -> None:
        """Raise BadAdapter for layers that come out the same, but for pairs that were allowed to do nothing."""
        strict = [item for item in outfit.items if not item.adapter.is_partial]
        for layer in silent:
            path = layer.removesuffix(".weight").removesuffix(".bias")
            if owner := next((item for item in strict if path in item.loaded.changes), None):
                if self._baked is not None:
                    self._baked.release()
                reason = f"it changes nothing at strength {owner.adapter.strength:g}"
                raise BadAdapter(owner.adapter.name, path, reason)

    def _tell_unused(self, unfused: Unfused) -> None:
        """Warn of layers that never ran, where others of the same part of the model did."""
        ran = {path.partition(".")[0] for path, extra in unfused.extras.items() if extra.calls}
        idle = [path for path, extra in unfused.extras.items() if not extra.calls and path.partition(".")[0] in ran]
        if idle:
            self._context.warn(f"{len(idle)} layers with adapters never ran in this render, {idle[0]} among them")

    def _facts(self, item: Item) -> dict[str, Any]:
        adapter = item.adapter
        low, high = adapter.ranks
        return {
            "name": adapter.name,
            "strength": adapter.strength,
            "applied": "not at all" if adapter.strength == 0 else self._setting.way,
            "layers": len(item.loaded.changes),
            "pairs": adapter.pairs,
            "rank": f"{low}" if low == high else f"{low} to {high}",
            "dtype": adapter.dtype,
            "sha256": adapter.digest,
            "was_loaded": item.was_loaded,
        }


def _key(adapter: Adapter) -> tuple[Any, ...]:
    return adapter.digest, adapter.parts, adapter.is_partial
