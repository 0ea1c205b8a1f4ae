"""Loaded adapters, the last used of them, within a budget of memory. One that is in use is never let go."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deployments.nets.lora.loaded import Loaded
from serve_app.core.errors import OutOfMemory


@dataclass
class _Kept:
    loaded: Loaded
    users: int = 0


class AdapterCache:
    """Adapters by key. Safe for threads; a load makes others wait, so that nothing is loaded twice."""

    def __init__(self, budget_bytes: int, device: str) -> None:
        self._budget_bytes, self._device = budget_bytes, device
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """What is held now."""
        return sum(kept.loaded.size_bytes for kept in self._kept.values())

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """What is held now, the least lately used first."""
        return tuple(self._kept)

    @contextmanager
    def borrow(
        self, key: Hashable, size_bytes: Callable[[], int], load: Callable[[], Loaded]
    ) -> Iterator[tuple[Loaded, bool]]:
        """Lend what is at ``key``, and whether it was at hand; else ``load`` makes it, of about ``size_bytes``.

        Idle adapters leave, the least lately used first, until it fits. Raises OutOfMemory when those in use leave too
        little of the budget, and whatever ``load`` raises, after which nothing is kept of it.
        """
        with self._lock:
            is_at_hand = key in self._kept
            if not is_at_hand:
                self._make_room(size_bytes())
                self._kept[key] = _Kept(load())
            kept = self._kept[key]
            self._kept.move_to_end(key)
            kept.users += 1
        try:
            yield kept.loaded, is_at_hand
        finally:
            with self._lock:
                kept.users -= 1
                self._trim()

    def drop(self, key: Hashable) -> None:
        """Let go of what is at ``key``, unless somebody uses it."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and not kept.users:
                del self._kept[key]

    def _make_room(self, size_bytes: int) -> None:
        while self.size_bytes + size_bytes > self._budget_bytes:
            if not self._let_go():
                what = f"an adapter of {size_bytes} bytes in a budget of {self._budget_bytes}"
                raise OutOfMemory(f"{what}, of which {self.size_bytes} are in use,", self._device)

    def _trim(self) -> None:
        while self.size_bytes > self._budget_bytes and self._let_go():
            pass

    def _let_go(self) -> bool:
        idle = next((key for key, kept in self._kept.items() if not kept.users), None)
        if idle is None:
            return False
        del self._kept[idle]
        return True
