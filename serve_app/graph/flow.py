"""One clip on its way through a walk, chunk by chunk: who waits for which chunk, and when it can be let go of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from serve_app.core.errors import Cancelled, GreenlightError, InputLost, Rejected
from serve_app.core.streaming import count_of, span_of
from serve_app.graph.errand import Pieces
from serve_app.graph.record import StepRecord, merged


class NotReached(Exception):
    """A step behind a gate that rejected, or behind a step that gave up."""


def cut_short(records: Sequence[StepRecord], error: BaseException) -> StepRecord:
    """Return the pieces that were done of a step which ``error`` ended, as one record."""
    code = error.code if isinstance(error, GreenlightError) else Cancelled.code
    ended = Rejected.code if isinstance(error, NotReached) else code
    return replace(merged(records), ended=ended, value={}, chunks=len(records))


@dataclass(frozen=True)
class Streaming:
    """How clips move: in chunks of ``chunk_frames`` (None: whole), at most ``credits`` (2 or more) ahead of a reader.

    ``is_kept``: chunks are held for as long as their flow, for somebody may want to walk on from it.
    """

    chunk_frames: int | None = None
    credits: int = 3
    is_kept: bool = False


WHOLE = Streaming()
"""Clips are not cut."""


@dataclass
class _Slot:
    """A chunk's place: its reference while it is there, and the steps that have still to use it."""

    users: set[str]
    value: Any = None
    state: str = "awaited"  # then "there", then "gone"


@dataclass
class _Shared:
    """What a flow has in common with itself behind a gate."""

    live: set[str] = field(default_factory=set)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    is_stopped: bool = False


class Flow:
    """The chunks of a clip that ``node`` makes. Lives on the event loop.

    ``users`` are the steps that will take it, and ``gates`` those that take its first chunk alone. A user that has
    begun is live: `room` makes the maker wait for it. One that has not, because a gate before it is still shut or
    because it wants the clip whole, holds chunks and makes nobody wait: its gate may depend on the very chunks that
    would be held back.
    """

    def __init__(self, node: str, chunk_frames: int, users: Iterable[str], gates: Iterable[str], is_kept: bool) -> None:
        self.node, self.chunk_frames, self.frames = node, chunk_frames, 0
        self._users, self._gates, self._is_kept = frozenset(users), frozenset(gates), is_kept
        self._slots: list[_Slot] = []
        self._shared = _Shared()

    @property
    def is_announced(self) -> bool:
        """Whether the number of frames is known."""
        return bool(self._slots)

    @property
    def is_begun(self) -> bool:
        """Whether a chunk has come."""
        return any(slot.state != "awaited" for slot in self._slots)

    @property
    def is_complete(self) -> bool:
        """Whether every chunk has come."""
        return self.is_announced and all(slot.state != "awaited" for slot in self._slots)

    @property
    def is_whole(self) -> bool:
        """Whether every chunk is there still."""
        return self.is_announced and all(slot.state == "there" for slot in self._slots)

    def announce(self, frames: int) -> None:
        """Say how many ``frames`` there will be. The first to say so is right."""
        if not self._slots:
            self.frames = frames
            self._slots = [_Slot(set(self._users)) for _ in range(count_of(frames, self.chunk_frames))]
            self._slots[0].users |= self._gates
            self._ring()

    def put(self, index: int, frames: int, value: Any) -> None:
        """Take in a chunk, of ``frames`` in all. One that has come before is let be."""
        self.announce(frames)
        slot = self._slots[index]
        if slot.state == "awaited":
            slot.value, slot.state = value, "there"
            self._let_go(slot)
            self._ring()

    def stop(self) -> None:
        """Say that no more will come, because the maker was not reached."""
        self._shared.is_stopped = True
        self._ring()

    async def count(self) -> int:
        """Return the number of chunks, once it is known. Raises NotReached."""
        await self._until(lambda: self.is_announced)
        return len(self._slots)

    def span(self, index: int) -> tuple[int, int]:
        """Return the first frame of a chunk, and how many it has."""
        return span_of(index, self.frames, self.chunk_frames)

    async def get(self, index: int) -> Any:
        """Return a chunk once it is there. Raises NotReached, and InputLost for one that has been let go of."""
        await self._until(lambda: self.is_announced and self._slots[index].state != "awaited")
        slot = self._slots[index]
        if slot.state == "gone":
            raise InputLost(self.node, f"chunk {index} was let go of")
        return slot.value

    async def whole(self) -> Pieces:
        """Return all chunks in order, once they are there."""
        return Pieces(tuple([await self.get(index) for index in range(await self.count())]))

    def is_same(self, other: Flow, index: int) -> bool:
        """Whether a chunk of both flows is one and the same."""
        return self._slots[index] is other._slots[index]

    def begin(self, user: str) -> None:
        """From here on the maker waits for ``user``."""
        self._shared.live.add(user)

    def release(self, index: int, user: str) -> None:
        """Say that ``user`` has done with a chunk."""
        slot = self._slots[index]
        slot.users.discard(user)
        self._let_go(slot)
        self._ring()

    def end(self, user: str) -> None:
        """Say that ``user`` has done with all of it."""
        self._shared.live.discard(user)
        for index in range(len(self._slots)):
            self.release(index, user)

    async def room(self, index: int, credits: int) -> None:
        """Return when no live user is ``credits`` chunks behind chunk ``index``."""
        await self._until(lambda: all(self._lag(user, index) < credits for user in self._shared.live))

    def led_by(self, first: Any, users: Iterable[str]) -> Flow:
        """Return this flow behind a gate that put another chunk in the place of the first; ``users`` are beyond it."""
        flow = Flow(self.node, self.chunk_frames, (), (), self._is_kept)
        flow.frames, flow._shared = self.frames, self._shared
        flow._slots = [_Slot(set(users), first, "there"), *self._slots[1:]]
        for user in set(users) - self._shared.live:  # one that is live has begun ahead of the gate, with this flow
            self.release(0, user)
        return flow

    def _lag(self, user: str, index: int) -> int:
        return sum(user in slot.users for slot in self._slots[:index])

    def _let_go(self, slot: _Slot) -> None:
        if not slot.users and not self._is_kept and slot.state == "there":
            slot.value, slot.state = None, "gone"

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            if self._shared.is_stopped:
                raise NotReached(self.node)
            bell = asyncio.get_running_loop().create_future()
            self._shared.waiters.append(bell)
            await bell

    def _ring(self) -> None:
        waiters, self._shared.waiters = self._shared.waiters, []
        for bell in waiters:
            if not bell.done():
                bell.set_result(None)
