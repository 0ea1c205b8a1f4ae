"""Cutting clips and joining them, and what a stage may say of itself."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.core.errors import Misconfigured
from serve_app.core.media import Audio, Clip
from serve_app.core.streaming import count_of, cut, joined, span_of, ways_of

SOUND = Audio(np.zeros((1, 10), np.float32), 8000)


def counting(first: int, count: int, audio: Audio | None = None) -> Clip:
    frames = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    return Clip(frames, Fraction(24), "test", audio)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), chunk=st.integers(2, 20), spoken=st.integers(0, 11))
def test_pieces_of_any_sizes_become_the_chunks_that_were_announced(sizes: list[int], chunk: int, spoken: int) -> None:
    starts = np.cumsum([0, *sizes[:-1]])
    pieces = [
        counting(int(start), size, SOUND if index == spoken % len(sizes) else None)
        for index, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]
    total = sum(sizes)
    chunks = list(cut(pieces, chunk, total))
    spans = [span_of(index, total, chunk) for index in range(count_of(total, chunk))]
    assert [each.shape.frames for each in chunks] == [count for _, count in spans]
    assert all(count >= (chunk + 1) // 2 or len(spans) == 1 for _, count in spans)
    assert all(count < chunk * 1.5 for _, count in spans)
    whole = joined(chunks)
    assert whole.frames[:, 0, 0, 0].tolist() == list(range(total))
    assert whole.audio is SOUND


def test_a_chunk_in_one_piece_is_not_copied() -> None:
    piece = counting(0, 8)
    assert all(np.shares_memory(chunk.frames, piece.frames) for chunk in cut([piece], 4, 8))


def test_a_single_chunk_is_the_clip_itself() -> None:
    clip = counting(0, 5)
    assert joined([clip]) is clip
    assert list(cut([clip], 5, 5)) == [clip]


def test_an_empty_clip_is_one_empty_chunk() -> None:
    clip = counting(0, 0)
    assert [chunk.shape.frames for chunk in cut([clip], 4, 0)] == [0]


@pytest.mark.parametrize(
    ("sizes", "promised", "said"), [([3], 4, "3 came"), ([3, 3], 4, "more"), ([3, 0], 3, "no frame")]
)
def test_frames_other_than_promised_are_an_error(sizes: list[int], promised: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(cut([counting(0, size) for size in sizes], 2, promised))


def test_chunks_of_two_clips_are_not_joined() -> None:
    other = Clip(np.zeros((2, 2, 2, 3), np.uint8), Fraction(24), "test")
    with pytest.raises(ValueError, match="differ"):
        joined([counting(0, 2), other])
    with pytest.raises(ValueError, match="sound rides with one"):
        joined([counting(0, 2, SOUND), counting(2, 2, SOUND)])


class Half:
    def run(self, params: Any, *, clip: Clip) -> Clip:
        return clip

    def part(self, params: Any, *, clip: Any) -> Any: ...


class Strange(Half):
    def gather(self, params: Any, *, clips: Any) -> Any: ...


class Chunkwise:
    is_chunkwise = True


class Producer:
    def run(self, params: Any, *, seed: int) -> Clip:
        return counting(seed, 1)


def test_half_an_offer_is_refused() -> None:
    with pytest.raises(Misconfigured, match="part and gather"):
        ways_of("half", Half, {"clip": Clip}, Clip)
    with pytest.raises(Misconfigured, match=r"strange\.gather"):
        ways_of("strange", Strange, {"clip": Clip}, Clip)
    with pytest.raises(Misconfigured, match="one port for a clip, not 2"):
        ways_of("two", Chunkwise, {"clip": Clip, "other": Clip}, Clip)
    with pytest.raises(Misconfigured, match="only a clip"):
        ways_of("judge", Chunkwise, {"clip": Clip}, str)


class Folding:
    def part(self, params: Any, *, clip: Any) -> Any: ...

    def gather(self, params: Any, *, clip: Any) -> Any: ...


class FoldingChunkwise(Folding):
    is_chunkwise = True


class FoldingGate(Folding):
    gates = "clip"


@pytest.mark.parametrize(("stage", "said"), [(FoldingChunkwise, "is chunkwise"), (FoldingGate, "is a gate")])
def test_a_folding_stage_is_nothing_else_besides(stage: type, said: str) -> None:
    assert ways_of("fold", Folding, {"clip": Clip}, Clip).is_folding
    with pytest.raises(Misconfigured, match=said):
        ways_of("both", stage, {"clip": Clip}, Clip)


def test_a_stage_that_says_nothing_is_cut_and_joined_for() -> None:
    ways = ways_of("producer", Producer, {"seed": int}, Clip)
    assert ways.is_producer
    assert not any((ways.streams, ways.is_chunkwise, ways.is_folding))
