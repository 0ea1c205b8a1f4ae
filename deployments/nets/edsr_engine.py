"""How an EDSR network is run on a device: whole frames or exact tiles, in batches, replayed where that saves launches.

A frame is cut into tiles only after it did not fit into memory whole. On a GPU the kernels of a batch are recorded once
for each size of frame and replayed as one CUDA graph.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from deployments.nets.edsr import Edsr, tiled
from deployments.nets.lanczos import to_levels
from serve_app.core.errors import OutOfMemory

TILES_PX = (512, 256, 128)
"""Sides tried, in order, of the square tiles that a frame is cut into when it does not fit into memory whole."""
BATCHES = (1, 2, 4, 8, 16)
"""Frames at a time, of which the fastest is measured on a GPU."""
_WORTHWHILE = 0.98
"""A larger batch takes memory: it has to save a fiftieth of the time."""
_RECORDINGS = 2

How = Literal["eager", "graph", "compile"]
Work = Callable[[Tensor], Tensor]
Tell = Callable[[str], None]


class Recorder(Protocol):
    """Something that can repeat what it has seen done."""

    def __call__(self, work: Work, given: Tensor) -> Callable[[], Tensor]:
        """Do ``work`` on ``given``; return what does it again, on whatever ``given`` holds by then."""


@dataclass
class Replays:
    """``work``, recorded for each shape that it is given, the last few of which are kept."""

    work: Work
    recorder: Recorder
    _kept: dict[tuple[int, ...], tuple[Tensor, Callable[[], Tensor]]] = field(default_factory=dict)

    def __call__(self, given: Tensor) -> Tensor:
        """Return ``work(given)``, in memory of its own."""
        shape = tuple(given.shape)
        if shape not in self._kept:
            while len(self._kept) >= _RECORDINGS:
                del self._kept[next(iter(self._kept))]
            held = given.clone()
            self._kept[shape] = (held, self.recorder(self.work, held))
        held, again = self._kept[shape]
        held.copy_(given)
        return again().clone()  # the next replay writes over it

    def forget(self) -> None:
        """Give the memory of all recordings back."""
        self._kept.clear()


class Engine:
    """A network on a device. ``tile_px`` is None until a frame has not fitted; then the side of the tiles."""

    def __init__(self, network: Edsr, device: str, how: How) -> None:
        self.network = network.channels_last().to(device)
        self._device = device
        self.tile_px: int | None = None
        self._batches: dict[tuple[int, ...], int] = {}
        self._compute = torch.compile(self._forward, dynamic=False) if how == "compile" else self._forward
        self._replays = Replays(self._compute, record_cuda) if how == "graph" else None

    def enlarge(self, pixels: Tensor, most: int, between: Callable[[], None], tell: Tell) -> Tensor:
        """Return uint8 ``(N, 3, H, W)`` on the device at the network's size, at most ``most`` frames at a time.

        ``between`` is called between two batches and ``tell`` with what the caller should know.
        Raise OutOfMemory naming the smallest tile that failed.
        """
        done = []
        for batch in torch.split(pixels, self.batch_for(pixels, most)):
            between()
            done.append(self._fit_in_memory(batch, tell))
        return torch.cat(done) if len(done) > 1 else done[0]

    def batch_for(self, pixels: Tensor, most: int) -> int:
        """Return how many frames of this size to take at a time: measured on a GPU; 1 on a CPU, whose caches spill."""
        if self._device == "cpu" or self.tile_px is not None:
            return 1
        key = (*pixels.shape[1:], most)
        if key not in self._batches:
            sample = pixels[:1].expand(most, -1, -1, -1)
            self._batches[key] = fastest_batch(lambda count: _seconds(self._compute, sample[:count]), most)
        return self._batches[key]

    def _fit_in_memory(self, pixels: Tensor, tell: Tell) -> Tensor:
        """Run the network on whole frames, or on the largest tiles that fit; remember which."""
        while True:
            try:
                return self._once(pixels)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = [tile for tile in TILES_PX if self.tile_px is None or tile < self.tile_px]
                if not smaller:
                    tile = f"a tile of {self.tile_px}x{self.tile_px} px"
                    raise OutOfMemory(f"{tile} of an EDSR frame", self._device) from error
            # Outside the handler, whose traceback would keep the failed attempt's tensors alive.
            self.tile_px = smaller[0]
            tell(self.tiles_in_words("a frame"))
            if self._replays is not None:
                self._replays.forget()
            if pixels.is_cuda:
                torch.cuda.empty_cache()

    def tiles_in_words(self, what: str) -> str:
        """Return the warning that ``what`` did not fit."""
        return f"{what} did not fit into memory: cut into tiles of {self.tile_px} px (equal up to rounding)"

    def _once(self, pixels: Tensor) -> Tensor:
        if self.tile_px is not None:
            return self._forward(pixels)
        return self._compute(pixels) if self._replays is None else self._replays(pixels)

    def _forward(self, pixels: Tensor) -> Tensor:
        x = pixels.float().div_(255)
        y = self.network(x) if self.tile_px is None else tiled(self.network, x, self.tile_px)
        return to_levels(y.mul_(255))


def fastest_batch(seconds_for: Callable[[int], float], most: int) -> int:
    """Return the batch of ``BATCHES``, up to ``most``, with the least time per frame; a larger one must be worth it.

    ``seconds_for(count)`` is the time of ``count`` frames at once. What does not fit into memory ends the search.
    """
    chosen, least = 1, float("inf")
    for count in BATCHES:
        if count > most:
            break
        try:
            each = seconds_for(count) / count
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if each < least * _WORTHWHILE:
            chosen, least = count, each
    return chosen


def _seconds(work: Work, given: Tensor) -> float:
    work(given)
    torch.accelerator.synchronize()
    started = time.perf_counter()
    work(given)
    torch.accelerator.synchronize()
    return time.perf_counter() - started


def record_cuda(work: Work, given: Tensor) -> Callable[[], Tensor]:
    """Record ``work`` as a CUDA graph (docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs)."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # first runs choose algorithms and allocate, which a graph must not contain
        for _ in range(2):
            work(given)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work(given)

    def again() -> Tensor:
        graph.replay()
        return result

    return again


def is_out_of_memory(error: BaseException) -> bool:
    """Tell lack of memory from other errors: a CPU's allocator and oneDNN have no exception type of their own."""
    says_so = any(words in str(error) for words in ("can't allocate memory", "could not create a primitive"))
    return says_so or isinstance(error, torch.OutOfMemoryError | MemoryError)
