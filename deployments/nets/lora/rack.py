"""What a generator needs to take adapters: one object, and one ``with`` around each render."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from deployments.nets.lora.apply import Baked, Mark, Unfused
from deployments.nets.lora.cache import AdapterCache
from deployments.nets.lora.families import FAMILIES, FamilyName
from deployments.nets.lora.loaded import Loaded, Seat, Source, estimate_bytes, load
from deployments.nets.lora.outfit import Item, Outfit, identity_of, key_of
from deployments.nets.lora.places import Base
from deployments.nets.lora.policy import Choice, Policy, Way, Wears
from deployments.nets.lora.weights import narrow_dtype
from serve_app.core.adapter import Adapter, Adapters
from serve_app.core.errors import BadAdapter
from serve_app.core.stage import Context

_MOST_PROVEN = 1000


@dataclass(frozen=True)
class Setting:
    """How a replica applies adapters: ``budget_bytes`` are for those that it keeps loaded."""

    way: Literal["auto", "unfused", "baked"]
    budget_bytes: int
    device: torch.device
    dtype: torch.dtype
    """What layers compute in whose weights are stored in FP8."""

    @property
    def seats(self) -> Mapping[Way, Seat]:
        """Where tensors are put: what is baked is needed once per set, and in the file's own numbers."""
        return {"unfused": Seat(self.device, self.dtype), "baked": Seat(torch.device("cpu"), None)}


class Rack:
    """The adapters of one replica. Not for two renders at once: a model has one state at a time."""

    def __init__(self, base: Base, modules: Mapping[str, torch.nn.Module], setting: Setting, context: Context) -> None:
        """`modules` are the parts of the model that `base` was made of."""
        self._base, self._modules, self._setting, self._context = base, modules, setting, context
        self._seats = setting.seats
        self._policy = Policy(setting.way)
        if (narrow := narrow_dtype(modules)) is not None:
            self._policy.forbid(f"weights stored as {narrow} cannot be baked into")
        self._cache = AdapterCache(setting.budget_bytes, str(setting.device))
        self._baked = Baked(modules, setting.device)
        self._proven: dict[tuple[Any, ...], list[Mark]] = {}

    @classmethod
    def of(cls, family: FamilyName, pipeline: Any, weights: Wears, context: Context) -> Rack:
        """Return the rack of a pipeline of diffusers that is in its place, as the stage's ``weights`` say.

        Its parts are those that adapters of the family change.
        """
        parts = {part: getattr(pipeline, part, None) for part in FAMILIES[family].parts}
        modules = {part: module for part, module in parts.items() if module is not None}
        device, dtype = pipeline._execution_device, pipeline.transformer.dtype
        setting = Setting(weights.adapters, weights.adapter_bytes, device, dtype)
        return cls(Base(family, modules), modules, setting, context)

    @contextmanager
    def wear(self, adapters: Adapters | None) -> Iterator[Outfit]:
        """Apply exactly ``adapters`` inside ``with``: the model's state follows from the request and from nothing else.

        Notes ``adapters``: what was applied, how and why. Raises BadAdapter for a file that does not fit, and for one
        that changes no output; OutOfMemory when those of one request exceed the budget; Unknown when a file is gone.
        """
        wanted = adapters.items if adapters else ()
        with ExitStack() as stack:
            choice = self._choose(wanted)
            outfit = Outfit(tuple(self._fetch(stack, adapter, choice.way) for adapter in wanted), choice.way)
            unfused = None if choice.way == "baked" else self._hook(stack, outfit)
            silent = self._silent(outfit, unfused)
            self._refuse_silent(outfit, silent)
            if wanted:
                self._context.note("adapters", _facts(outfit, choice, silent))
            yield outfit
            self._policy.worn(outfit.identity, unfused.passes if unfused else 0)
            if unfused:
                self._tell_unused(unfused)

    def _choose(self, wanted: Sequence[Adapter]) -> Choice:
        choice = self._policy.choose(identity_of(wanted))
        # Nothing is loaded twice, once for each way.
        other: Way = "unfused" if choice.way == "baked" else "baked"
        for adapter in wanted:
            self._cache.drop((other, key_of(adapter)))
        return choice

    def _fetch(self, stack: ExitStack, adapter: Adapter, way: Way) -> Item:
        if adapter.base != self._base.name:
            reason = f"it was verified for {adapter.base}, and this is {self._base.name}"
            raise BadAdapter(adapter.name, None, reason)
        seat = self._seats[way]

        def source() -> Source:
            path = self._context.artifacts.path_of(adapter.digest)
            return Source(path, adapter.name, adapter.parts, adapter.is_partial)

        def read() -> Loaded:
            return load(source(), self._base, self._modules, seat)

        def size_bytes() -> int:
            return estimate_bytes(source(), self._base, self._modules, seat)

        lent = self._cache.borrow((way, key_of(adapter)), size_bytes, read)
        loaded, was_loaded = stack.enter_context(lent)
        if len(loaded.changes) != adapter.layers:
            reason = (
                f"{adapter.layers} layers were verified and {len(loaded.changes)} are here: another model was checked"
            )
            raise BadAdapter(adapter.name, None, reason)
        return Item(adapter, loaded, was_loaded)

    def _hook(self, stack: ExitStack, outfit: Outfit) -> Unfused:
        self._baked.release()
        unfused = Unfused(self._modules, outfit.worn)
        stack.enter_context(unfused.applied())
        return unfused

    def _silent(self, outfit: Outfit, unfused: Unfused | None) -> list[Mark]:
        """Return which changes make no difference, found out the first time that a set is worn in a way."""
        key = (unfused is None, outfit.identity)
        silent = self._baked.hold(outfit.identity, outfit.worn) if unfused is None else []
        if key not in self._proven:
            silent = silent if unfused is None else unfused.silent(self._setting.device)
            self._proven = {**(self._proven if len(self._proven) < _MOST_PROVEN else {}), key: silent}
        return self._proven[key]

    def _refuse_silent(self, outfit: Outfit, silent: list[Mark]) -> None:
        """Raise BadAdapter for a pair that changes nothing, but of adapters that were allowed to do nothing.

        Differences of norms and biases may be too small for a narrow dtype in files that work: those are told.
        """
        faint = []
        for owner, path in silent:
            item = outfit.worn_items[owner]
            if item.loaded.changes[path].pair is None:
                faint.append(f"{item.adapter.name}: {path}")
            elif not item.adapter.is_partial:
                self._baked.release()
                raise BadAdapter(item.adapter.name, path, f"it changes nothing at strength {item.adapter.strength:g}")
        if faint:
            self._context.warn(f"{len(faint)} differences are too small to change anything, {faint[0]} among them")

    def _tell_unused(self, unfused: Unfused) -> None:
        """Warn of layers that never ran, where others of the same part of the model did."""
        ran = {path.partition(".")[0] for path, extra in unfused.extras.items() if extra.calls}
        idle = [path for path, extra in unfused.extras.items() if not extra.calls and path.partition(".")[0] in ran]
        if idle:
            self._context.warn(f"{len(idle)} layers with adapters never ran in this render, {idle[0]} among them")


def _facts(outfit: Outfit, choice: Choice, silent: list[Mark]) -> list[dict[str, Any]]:
    """Return what is noted of each adapter; `matched`: layers whose output changes on a probe, of those it reaches."""
    facts, owner = [], 0
    for item in outfit.items:
        adapter, layers = item.adapter, len(item.loaded.changes)
        low, high = adapter.ranks
        idle = {path for place, path in silent if item.is_worn and place == owner}
        owner += item.is_worn
        facts.append(
            {
                "name": adapter.name,
                "strength": adapter.strength,
                "applied": choice.way if item.is_worn else "not at all",
                "why": choice.why if item.is_worn else "its strength is 0",
                "matched": f"{layers - len(idle) if item.is_worn else 0}/{layers}",
                "layers": layers,
                "pairs": adapter.pairs,
                "rank": f"{low}" if low == high else f"{low} to {high}",
                "dtype": adapter.dtype,
                "sha256": adapter.digest,
                "was_loaded": item.was_loaded,
            }
        )
    return facts
