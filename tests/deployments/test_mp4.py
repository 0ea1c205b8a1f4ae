"""Segments put together: the same frames, times and sound as in one go, whatever the sizes of the chunks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.encode.video import VideoEncoder
from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip
from serve_app.core.streaming import Chunk, cut
from tests.deployments.desk import DeskContext
from tests.deployments.test_encode_video import decoded, encode, gliding, opened, tone


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def folded(desk: DeskContext, clip: Clip, chunk_frames: int, **params: object) -> Artifact:
    """Encode ``clip`` in chunks."""
    stage, wanted = VideoEncoder(), VideoEncoder.Params.model_validate(params)
    stage.load(VideoEncoder.Weights(), desk)
    count = clip.shape.frames
    chunks = list(cut([clip], chunk_frames, count))
    parts = [stage.part(wanted, clip=Chunk(chunk, index * chunk_frames, count)) for index, chunk in enumerate(chunks)]
    return stage.gather(wanted, clip=parts)


def times(desk: DeskContext, artifact: Artifact) -> list[Any]:
    with opened(desk, artifact) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 17, 33])
@pytest.mark.parametrize("chunk_frames", [2, 3, 16])
def test_every_frame_is_there_at_its_time(desk: DeskContext, frames: int, chunk_frames: int) -> None:
    clip = gliding(frames, Fraction(30000, 1001))
    ours, whole = folded(desk, clip, chunk_frames), encode(desk, clip)
    assert ours.facts == whole.facts
    assert times(desk, ours) == times(desk, whole)
    seen = decoded(desk, ours).astype(int)
    error = np.array([[np.abs(one - frame).mean() for frame in clip.frames.astype(int)] for one in seen])
    assert (error.argmin(axis=1) == np.arange(frames)).all(), "each frame is its own"
    if chunk_frames == 16:  # in segments of two or three frames, x264 spends less on each
        noise = np.abs(decoded(desk, whole).astype(int) - clip.frames).mean(axis=(1, 2, 3))
        assert error.diagonal().max() < noise.max() + 0.5


def test_decoding_times_rise_and_never_pass_the_time_of_showing(desk: DeskContext) -> None:
    with opened(desk, folded(desk, gliding(33), 5)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    stamps = [packet.dts for packet in packets]
    assert stamps == sorted(set(stamps))
    assert all(packet.dts <= packet.pts for packet in packets)
    assert sum(packet.is_keyframe for packet in packets) == 7


def test_the_sound_of_the_clip_is_as_in_one_go(desk: DeskContext) -> None:
    clip = replace(gliding(24), audio=tone(1.0, 48000, 2))

    def sound(artifact: Artifact) -> Any:
        with opened(desk, artifact) as container:
            return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)

    np.testing.assert_array_equal(sound(folded(desk, clip, 7)), sound(encode(desk, clip)))


def test_playback_can_start_before_the_end_has_come(desk: DeskContext) -> None:
    data = desk.artifacts.path_of(folded(desk, gliding(20), 6).digest).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_same_chunks_give_the_same_bytes(desk: DeskContext) -> None:
    clip = gliding(20)
    assert folded(desk, clip, 6).digest == folded(desk, clip, 6).digest


def test_a_rate_is_held_over_segments(desk: DeskContext) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (48, 96, 160, 3), np.uint8)
    artifact = folded(desk, Clip(noise, Fraction(24), "noise"), 16, bitrate_bps=400_000)
    size = desk.artifacts.path_of(artifact.digest).stat().st_size
    assert 0.5 < size * 8 / 2 / 400_000 < 2


def test_segments_of_unlike_coding_are_not_put_together(desk: DeskContext) -> None:
    stage, params = VideoEncoder(), VideoEncoder.Params()
    stage.load(VideoEncoder.Weights(), desk)
    parts = [
        stage.part(params, clip=Chunk(gliding(4), 0, 8)),
        stage.part(params, clip=Chunk(gliding(4, height=128), 4, 8)),
    ]
    with pytest.raises(ValueError, match="not encoded alike"):
        stage.gather(params, clip=parts)


def test_what_cannot_be_encoded_is_refused_with_the_first_chunk(desk: DeskContext) -> None:
    stage = VideoEncoder()
    stage.load(VideoEncoder.Weights(), desk)
    with pytest.raises(InvalidInput, match="width"):
        stage.part(VideoEncoder.Params(), clip=Chunk(gliding(4, width=161), 0, 8))


@pytest.mark.parametrize(("kind", "folds"), [("mp4", True), ("gif", False), ("webp", False)])
def test_an_animation_takes_the_whole_clip(kind: str, folds: bool) -> None:
    assert VideoEncoder.folds(VideoEncoder.Params.model_validate({"format": kind}), VideoEncoder.Weights()) is folds
