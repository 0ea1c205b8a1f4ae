"""What a model wears during one render: verified adapters with their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.nets.lora.loaded import Loaded
from serve_app.core.adapter import Adapter


def key_of(adapter: Adapter) -> tuple[Any, ...]:
    """Return what decides which tensors are loaded for an adapter."""
    return adapter.digest, adapter.parts, adapter.is_partial


def identity_of(adapters: Sequence[Adapter]) -> tuple[Any, ...]:
    """Return what tells the model's state from every other; empty for the base. One at strength 0 is no part of it."""
    return tuple((*key_of(adapter), adapter.strength) for adapter in adapters if adapter.strength != 0)


@dataclass(frozen=True)
class Item:
    """One adapter of a render, with its tensors."""

    adapter: Adapter
    loaded: Loaded
    was_loaded: bool
    """Whether it was at hand already."""

    @property
    def is_worn(self) -> bool:
        """Whether it changes anything; at strength 0 it does not."""
        return self.adapter.strength != 0


@dataclass(frozen=True)
class Outfit:
    """All of them, in the order of the request."""

    items: tuple[Item, ...]
    way: str = ""
    """How they are applied: two ways differ in the last bits, so what was encoded under one is not the other's."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """See `identity_of`."""
        return identity_of([item.adapter for item in self.items])

    @property
    def worn_items(self) -> tuple[Item, ...]:
        """Those that change something."""
        return tuple(item for item in self.items if item.is_worn)

    @property
    def worn(self) -> Sequence[tuple[Loaded, float]]:
        """The tensors with their strengths."""
        return [(item.loaded, item.adapter.strength) for item in self.worn_items]

    def state_of(self, part: str) -> str:
        """Return what tells apart the states of one ``part`` of the model, for whoever keeps its results."""
        touching = [item.adapter for item in self.worn_items if item.loaded.touches(part)]
        return repr((self.way, identity_of(touching))) if touching else ""

    def idle_without(self, parts: Sequence[str]) -> list[str]:
        """Return the names of adapters that change none of ``parts`` of the model: those that a render uses."""
        return [item.adapter.name for item in self.worn_items if not any(item.loaded.touches(part) for part in parts)]
