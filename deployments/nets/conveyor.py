"""Frames to a device, through some work and back, each way in one of two buffers while the device works on the next.

On a GPU the buffers are page-locked and the copies have streams of their own, to go on beside the work.
The order of things is the same on a CPU, where a copy is simply done when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from serve_app.core.media import Pixels

Work = Callable[[Tensor], Tensor]


@dataclass
class _Slot:
    """A buffer in host memory, and what tells that its copy is over."""

    buffer: Tensor | None = None
    event: torch.cuda.Event | None = None

    def room(self, shape: tuple[int, ...], is_pinned: bool) -> Tensor:
        """Return uint8 room of ``shape``, once nobody reads or writes it any more."""
        self.wait()
        if self.buffer is None or self.buffer.shape[1:] != shape[1:] or len(self.buffer) < shape[0]:
            self.buffer = torch.empty(shape, dtype=torch.uint8, pin_memory=is_pinned)
        return self.buffer[: shape[0]]

    def wait(self) -> None:
        """Return when the last copy is over."""
        if self.event is not None:
            self.event.synchronize()


class Conveyor:
    """One per stage: it keeps its buffers from clip to clip."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._is_cuda = self._device.type == "cuda"
        self._inward, self._outward = (_Slot(), _Slot()), (_Slot(), _Slot())
        self._in = _stream(self._device) if self._is_cuda else None
        self._out = _stream(self._device) if self._is_cuda else None

    def carry(self, frames: Pixels, chunk: int, work: Work) -> Iterator[Pixels]:
        """Yield ``work`` of every ``chunk`` frames, in order: uint8 ``(<= chunk, h, w, 3)``, valid until the next.

        ``frames``: uint8 ``(T, H, W, 3)``, only read. ``work`` gets and gives such frames on the device.
        """
        starts = range(0, len(frames), chunk)
        staged = self._send(frames[:chunk], 0) if starts else None
        landing: Tensor | None = None
        for turn, start in enumerate(starts):
            given = staged
            following = frames[start + chunk : start + 2 * chunk]
            staged = self._send(following, (turn + 1) % 2) if len(following) else None
            assert given is not None
            back = self._fetch(work(given), turn % 2)
            if landing is not None:
                yield self._landed(landing, (turn - 1) % 2)
            landing = back
        if landing is not None:
            yield self._landed(landing, (len(starts) - 1) % 2)

    def _send(self, frames: Pixels, slot: int) -> Tensor:
        room = self._inward[slot].room(frames.shape, self._is_cuda)
        np.copyto(room.numpy(), frames)  # not torch.from_numpy, which warns of frames that cannot be written to
        with self._on(self._in):
            sent = room.to(self._device, non_blocking=True)
            self._inward[slot].event = self._mark(self._in)
        if self._in is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._in)
            sent.record_stream(current)
        return sent

    def _fetch(self, result: Tensor, slot: int) -> Tensor:
        room = self._outward[slot].room(tuple(result.shape), self._is_cuda)
        if self._out is not None:
            self._out.wait_stream(torch.cuda.current_stream(self._device))
            result.record_stream(self._out)
        with self._on(self._out):
            room.copy_(result, non_blocking=True)
            self._outward[slot].event = self._mark(self._out)
        return room

    def _landed(self, room: Tensor, slot: int) -> Pixels:
        self._outward[slot].wait()
        landed: Pixels = room.numpy()
        return landed

    def _on(self, stream: torch.cuda.Stream | None) -> AbstractContextManager[object]:
        return nullcontext() if stream is None else torch.cuda.stream(stream)

    def _mark(self, stream: torch.cuda.Stream | None) -> torch.cuda.Event | None:
        return None if stream is None else stream.record_event()


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
