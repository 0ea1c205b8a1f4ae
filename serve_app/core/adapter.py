"""Adapters: what a request asks for by name, and what travels once it was found: a digest, never tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from serve_app.core.errors import InvalidInput

MOST_STRENGTH = 100.0
"""Beyond it, a strength is a slip of the pen; -1 to 2 is usual."""
MOST_ADAPTERS = 8
"""At once, in one request."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_STRENGTH = re.compile(r"[+-]?([0-9]++\.?+[0-9]*+|\.[0-9]++)(e[+-]?[0-9]{1,3})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class WantedAdapter:
    """One adapter by ``name``, never a path, and the ``strength`` that its difference is multiplied with.

    A strength of None was left out: the pipeline's own is taken.
    """

    name: str
    strength: float | None = None

    def __str__(self) -> str:
        return self.name if self.strength is None else f"{self.name}@{self.strength:g}"


@dataclass(frozen=True)
class WantedAdapters:
    """What a request says: ``anime-v2@0.8``, several separated by commas, or a list of such texts. No name twice."""

    items: tuple[WantedAdapter, ...]

    @classmethod
    def parse(cls, given: Any, field: str = "adapter") -> WantedAdapters:
        """Read ``given``, text or a sequence of texts; raise InvalidInput naming ``field``."""
        if not isinstance(given, str | list | tuple):
            raise InvalidInput(field, "is text such as anime-v2@0.8, or a list of those")
        texts: Sequence[Any] = given.split(",") if isinstance(given, str) else given
        if not 1 <= len(texts) <= MOST_ADAPTERS:
            raise InvalidInput(field, f"{len(texts)} adapters; from 1 to {MOST_ADAPTERS} can be applied at once")
        items = tuple(_one(text, field) for text in texts)
        names = [item.name for item in items]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidInput(field, f"{', '.join(twice)} is named twice; give it the sum of the strengths once")
        return cls(items)


def _one(text: Any, field: str) -> WantedAdapter:
    if not isinstance(text, str):
        raise InvalidInput(field, "is text such as anime-v2@0.8, or a list of those")
    name, has_strength, number = text.strip().partition("@")
    if not _NAME.fullmatch(name):
        raise InvalidInput(field, f"{name[:64]!r} is not a name: letters, digits, dots, dashes and underscores alone")
    if not has_strength:
        return WantedAdapter(name)
    if not _STRENGTH.fullmatch(number) or not math.isfinite(float(number)):
        raise InvalidInput(field, f"{number[:64]!r} is not a strength for {name}: a finite number, such as 0.8")
    if abs(float(number)) > MOST_STRENGTH:
        raise InvalidInput(field, f"{number[:64]} for {name} is beyond {MOST_STRENGTH:g}")
    return WantedAdapter(name, float(number))


@dataclass(frozen=True)
class Adapter:
    """An adapter file that was found and verified: the artifact ``digest`` holds its bytes."""

    name: str
    digest: str
    """The sha256 of the file, 64 hex digits."""
    strength: float
    base: str
    """The family that it fits: ``ltx2``, ``flux``, ..."""
    layout: str
    """How its tensors are named: ``peft``, ``comfy``, ``kohya``, ``original``, ..."""
    dtype: str
    """Of its tensors in the file: ``bf16``, ``fp8_e4m3``; several are joined by +."""
    ranks: tuple[int, int]
    """The least and the greatest; they differ in resized files. (0, 0) for a file of plain differences."""
    pairs: int
    """Low-rank pairs in the file, each of which has a place in the base."""
    layers: int
    """Layers of the base that receive something; a fused pair reaches several."""
    size_bytes: int
    parts: tuple[str, ...] = ()
    """The parts of the model that it is for, where the family has a choice: one expert of two. Empty: all of them."""
    triggers: tuple[str, ...] = ()
    """Words that its author trained it to answer to."""
    is_partial: bool = False
    """Whether the caller allowed pairs of the file to have no place in the base."""

    def as_json(self) -> dict[str, Any]:
        """Return the adapter as JSON values."""
        lists = {"ranks": list(self.ranks), "parts": list(self.parts), "triggers": list(self.triggers)}
        return {**vars(self), **lists}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Adapter:
        """Undo ``as_json``."""
        tuples = {name: tuple(value[name]) for name in ("ranks", "parts", "triggers")}
        return cls(**{**value, **tuples})


@dataclass(frozen=True)
class Adapters:
    """What a generator is given: several verified adapters, applied together. None is the base alone."""

    items: tuple[Adapter, ...] = field(default=())

    def as_json(self) -> list[dict[str, Any]]:
        """Return the adapters as JSON values."""
        return [item.as_json() for item in self.items]

    @classmethod
    def from_json(cls, value: list[dict[str, Any]]) -> Adapters:
        """Undo ``as_json``."""
        return cls(tuple(Adapter.from_json(item) for item in value))


@dataclass(frozen=True)
class AdapterCard:
    """What a list of adapters says of one: by its configuration and its header, without its base."""

    name: str
    base: str
    """The family of the deployment that would apply it."""
    state: Literal["present", "not downloaded", "unreadable"]
    source: Literal["directory", "hub", "address", "path"]
    file: str
    """Its own name, without a directory."""
    layout: str | None = None
    dtype: str | None = None
    ranks: tuple[int, int] | None = None
    pairs: int | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    triggers: tuple[str, ...] = ()
    looks_made_for: str | None = None
    """The family that its layers' names occur in, where they tell."""
    error: str | None = None
    """Of one that is unreadable: file, layer, reason."""

    def unreadable(self, error: str) -> AdapterCard:
        """Return the card of a file that nobody can use."""
        return replace(self, state="unreadable", error=error)

    def as_json(self) -> dict[str, Any]:
        """Return the card as JSON values."""
        return {**vars(self), "ranks": self.ranks and list(self.ranks), "triggers": list(self.triggers)}


def is_adapter_name(name: str) -> bool:
    """Whether a request can ask for ``name``."""
    return bool(_NAME.fullmatch(name))


def missing_triggers(triggers: Sequence[str], prompt: str) -> list[str]:
    """Return the words of ``triggers`` that ``prompt`` does not say, whatever their case, as words of their own."""
    said = prompt.casefold()
    return [word for word in triggers if not re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", said)]
