"""The encoder: every file is opened again, and its rate, colours, sound and bytes are looked at."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as PillowImage
from pydantic import ValidationError
from skimage import data

from deployments.encode.video import VideoEncoder, _read_back, durations
from serve_app.core.artifact import Artifact
from serve_app.core.errors import Cancelled, InvalidInput, StageFailed
from serve_app.core.media import Audio, Clip, VideoShape
from serve_app.core.resize import cover_resize
from tests.deployments.desk import DeskContext


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def gliding(frames: int = 12, fps: Fraction = Fraction(24), height: int = 96, width: int = 160) -> Clip:
    photo = cover_resize(data.astronaut(), height, width + frames)
    views = np.stack([photo[:, index : index + width] for index in range(frames)])
    return Clip(frames=views, fps=fps, model="animatic")


def tone(duration_s: float, rate: int, channels: int) -> Audio:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(duration_s * rate)) / rate)
    return Audio(np.repeat(wave[None, :], channels, axis=0).astype(np.float32), rate)


def encode(desk: DeskContext, clip: Clip, **params: object) -> Artifact:
    stage = VideoEncoder()
    stage.load(VideoEncoder.Weights(), desk)
    return stage.run(VideoEncoder.Params.model_validate(params), clip=clip)


@contextmanager
def opened(desk: DeskContext, artifact: Artifact) -> Iterator[Any]:
    with av.open(str(desk.artifacts.path_of(artifact.digest))) as container:
        yield container


def decoded(desk: DeskContext, artifact: Artifact) -> np.ndarray:
    with opened(desk, artifact) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def sound(desk: DeskContext, artifact: Artifact) -> np.ndarray:
    with opened(desk, artifact) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def atoms(content: bytes) -> list[str]:
    names, at = [], 0
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        names.append(name.decode())
        at += size
    return names


@pytest.mark.parametrize(
    "fps", [Fraction(24), Fraction(25, 2), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(7)]
)
def test_every_frame_is_there_at_exactly_the_clips_rate(desk: DeskContext, fps: Fraction) -> None:
    artifact = encode(desk, gliding(12, fps))
    with opened(desk, artifact) as container:
        stream = container.streams.video[0]
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
        assert stream.average_rate == fps
        assert stream.duration * stream.time_base == 12 / fps
    assert times == [index / fps for index in range(12)]


def test_browsers_can_play_it_and_begin_at_once(desk: DeskContext) -> None:
    artifact = encode(desk, gliding())
    assert atoms(desk.artifacts.path_of(artifact.digest).read_bytes())[:2] == ["ftyp", "moov"]
    with opened(desk, artifact) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.profile) == ("h264", "yuv420p", "High")


def test_colours_are_tagged_as_bt709_in_limited_range(desk: DeskContext) -> None:
    with opened(desk, encode(desk, gliding())) as container:
        codec = container.streams.video[0].codec_context
        tags = (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range)
    assert tags == (1, 1, 1, 1)


def test_pure_colours_survive_the_trip(desk: DeskContext) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (230, 170, 140)]
    frames = np.concatenate([np.full((1, 64, 64, 3), colour, np.uint8) for colour in colours])
    clip = Clip(frames=frames, fps=Fraction(24), model="colours")
    seen = decoded(desk, encode(desk, clip, crf=1))[:, 32, 32].astype(int)
    assert np.abs(seen - np.array(colours)).max() <= 3  # with the matrix of BT.601, green alone is off by more than 20


def test_a_photo_comes_back_within_three_levels(desk: DeskContext) -> None:
    clip = gliding(8, height=256, width=448)
    error = np.abs(decoded(desk, encode(desk, clip, crf=10)).astype(int) - clip.frames).mean()
    assert error < 3


def test_a_lower_crf_is_a_larger_and_truer_file(desk: DeskContext) -> None:
    good, poor = encode(desk, gliding(), crf=12), encode(desk, gliding(), crf=40)
    assert good.size_bytes > 3 * poor.size_bytes


def test_a_bitrate_is_held(desk: DeskContext) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 96, 160, 3), dtype=np.uint8)
    artifact = encode(desk, Clip(frames=noise, fps=Fraction(24), model="noise"), bitrate_bps=400_000)
    assert 200_000 < artifact.size_bytes * 8 / 2 < 800_000


@pytest.mark.parametrize("params", [{}, {"format": "webp"}, {"format": "gif"}])
def test_the_same_clip_gives_the_same_bytes(desk: DeskContext, params: dict[str, str]) -> None:
    clip = replace(gliding(), audio=tone(0.5, 24000, 2)) if not params else gliding()
    assert len({encode(desk, clip, **params).digest for _ in range(3)}) == 1


def test_the_bytes_carry_the_fixed_thread_count_and_no_date(desk: DeskContext) -> None:
    artifact = encode(desk, gliding())
    content = desk.artifacts.path_of(artifact.digest).read_bytes()
    assert b" threads=2 " in content
    assert b"sliced_threads=0" in content
    with opened(desk, artifact) as container:
        assert "creation_time" not in container.metadata
        assert json.loads(container.metadata["comment"]) == {"model": "animatic", "software": "Greenlight"}
        assert container.metadata["title"] == "video"


@pytest.mark.parametrize(("rate", "channels"), [(24000, 2), (48000, 1), (44100, 2)])
def test_sound_keeps_its_rate_and_channels(desk: DeskContext, rate: int, channels: int) -> None:
    with opened(desk, encode(desk, replace(gliding(24), audio=tone(1.0, rate, channels)))) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("aac", rate, channels)


def test_a_rate_that_aac_lacks_becomes_48000(desk: DeskContext) -> None:
    artifact = encode(desk, replace(gliding(24), audio=tone(1.0, 22255, 1)))
    with opened(desk, artifact) as container:
        assert container.streams.audio[0].rate == 48000
    samples = sound(desk, artifact)[0][4800:43200]
    assert np.argmax(np.abs(np.fft.rfft(samples))) == round(440 * samples.size / 48000)


@pytest.mark.parametrize("heard_s", [0.2, 1.0, 3.0])
def test_sound_is_exactly_as_long_as_the_picture(desk: DeskContext, heard_s: float) -> None:
    clip = gliding(24, Fraction(24000, 1001))
    artifact = encode(desk, replace(clip, audio=tone(heard_s, 24000, 2)))
    with opened(desk, artifact) as container:
        stream = container.streams.audio[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(clip.duration_s, abs=0.001)


def test_sound_that_ends_early_is_followed_by_silence(desk: DeskContext) -> None:
    samples = sound(desk, encode(desk, replace(gliding(24), audio=tone(0.4, 24000, 2))))
    assert np.abs(samples[:, 2400:7200]).max() > 0.4
    assert np.abs(samples[:, 14400:]).max() < 0.01


def test_sound_beyond_full_scale_is_clipped_and_not_wrapped(desk: DeskContext) -> None:
    loud = tone(1.0, 48000, 1)
    samples = sound(desk, encode(desk, replace(gliding(24), audio=Audio(loud.samples * 4, 48000))))
    assert np.abs(samples).max() < 1.3


def test_facts_describe_the_file(desk: DeskContext) -> None:
    artifact = encode(desk, replace(gliding(12, Fraction(30000, 1001)), audio=tone(0.4, 48000, 1)), name="take 1")
    assert artifact.facts == {
        "width": 160,
        "height": 96,
        "frames": 12,
        "fps": "30000/1001",
        "duration_s": pytest.approx(0.4004),
        "codec": "h264",
        "has_audio": True,
        "model": "animatic",
    }
    assert (artifact.name, artifact.media_type) == ("take 1.mp4", "video/mp4")


@pytest.mark.parametrize(
    ("ticks_per_s", "fps"), [(100, Fraction(24)), (1000, Fraction(30000, 1001)), (100, Fraction(7))]
)
def test_durations_add_up_to_the_true_length(ticks_per_s: int, fps: Fraction) -> None:
    ticks = durations(97, fps, ticks_per_s)
    assert abs(sum(ticks) - 97 / fps * ticks_per_s) <= Fraction(1, 2)
    assert max(ticks) - min(ticks) <= 1


@pytest.mark.parametrize(("kind", "tick_ms"), [("webp", 1), ("gif", 10)])
def test_animations_keep_each_frames_duration_and_loop_for_ever(desk: DeskContext, kind: str, tick_ms: int) -> None:
    clip = gliding(24, Fraction(30000, 1001))
    artifact = encode(desk, clip, format=kind)
    with PillowImage.open(desk.artifacts.path_of(artifact.digest)) as animation:
        times = []
        for index in range(animation.n_frames):  # type: ignore[attr-defined]
            animation.seek(index)
            animation.load()
            times.append(animation.info["duration"])
        assert animation.info["loop"] == 0
        error = np.abs(np.asarray(animation.convert("RGB")).astype(int) - clip.frames[-1]).mean()
    assert times == [tick_ms * ticks for ticks in durations(24, clip.fps, 1000 // tick_ms)]
    assert error < 6
    assert artifact.media_type == f"image/{kind}"
    assert artifact.facts["codec"] == kind


def test_a_single_frame_can_be_encoded(desk: DeskContext) -> None:
    for kind in ("mp4", "webp", "gif"):
        assert encode(desk, gliding(1), format=kind).size_bytes > 100


def test_what_will_be_missing_is_said(desk: DeskContext) -> None:
    encode(desk, replace(gliding(4), audio=tone(0.2, 24000, 1)), format="webp")
    encode(desk, gliding(4), audio_bitrate_bps=96_000)
    encode(desk, gliding(4, Fraction(60)), format="gif")
    assert desk.warnings == [
        "the sound is left out: webp has none",
        "audio_bitrate_bps has no effect: the clip has no sound",
        "GIF players slow down above 50 fps, and the clip has 60",
    ]


@pytest.mark.parametrize(("height", "width", "field"), [(96, 161, "width"), (95, 160, "height")])
def test_odd_sizes_are_refused_for_h264_and_named(desk: DeskContext, height: int, width: int, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        encode(desk, gliding(2, height=height, width=width))
    assert caught.value.field == field


def test_odd_sizes_are_fine_for_webp(desk: DeskContext) -> None:
    assert encode(desk, gliding(2, height=95, width=161), format="webp").facts["width"] == 161


def test_sound_that_cannot_be_encoded_is_refused(desk: DeskContext) -> None:
    with pytest.raises(InvalidInput, match="6 channels"):
        encode(desk, replace(gliding(2), audio=tone(0.1, 48000, 6)))
    with pytest.raises(InvalidInput, match="not finite"):
        encode(desk, replace(gliding(2), audio=Audio(np.full((1, 99), np.nan, np.float32), 48000)))


def test_an_empty_clip_is_refused(desk: DeskContext) -> None:
    with pytest.raises(InvalidInput, match="nothing to encode"):
        encode(desk, Clip(frames=np.zeros((0, 96, 160, 3), np.uint8), fps=Fraction(24), model="none"))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"format": "gif", "crf": 20}, "crf"),
        ({"format": "webp", "preset": "slow"}, "preset"),
        ({"format": "mp4", "quality": 80}, "quality"),
        ({"crf": 20, "bitrate_bps": 1_000_000}, "crf"),
    ],
)
def test_params_without_effect_are_refused_at_plan_time(params: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        VideoEncoder.plan(VideoEncoder.Params.model_validate(params))
    assert caught.value.field == field


@pytest.mark.parametrize("wrong", [{"crf": 0}, {"crf": 64}, {"name": "../x"}, {"codec": "vp9"}, {"threads": 4}])
def test_params_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        VideoEncoder.Params.model_validate(wrong)


@pytest.mark.parametrize("kind", ["mp4", "webp", "gif"])
def test_a_cancelled_encode_leaves_no_file(tmp_path: Path, kind: str) -> None:
    desk = DeskContext(tmp_path, cancel_after=1)
    with pytest.raises(Cancelled):
        encode(desk, gliding(24), format=kind)
    assert list(desk.scratch.iterdir()) == []


@pytest.mark.parametrize("kind", ["mp4", "webp", "gif"])
def test_progress_counts_frames_and_scratch_is_left_empty(desk: DeskContext, kind: str) -> None:
    clip = gliding(20)
    clip.frames.flags.writeable = False
    encode(desk, clip, format=kind)
    assert desk.steps == [(8, 20), (16, 20), (20, 20)]
    assert list(desk.scratch.iterdir()) == []


def test_a_file_that_does_not_hold_the_clip_is_not_delivered(tmp_path: Path) -> None:
    """A full disk or a broken codec build leaves such files; the encoder reads each one back before it is kept."""
    desk = DeskContext(tmp_path)
    encoder = VideoEncoder()
    encoder.load(VideoEncoder.Weights(), desk)
    frames = np.random.default_rng(1).integers(0, 256, (9, 32, 32, 3), np.uint8)
    clip = Clip(frames, Fraction(24), "noise")
    path = desk.artifacts.path_of(encoder.run(VideoEncoder.Params(), clip=clip).digest)
    _read_back(path, clip.shape, clip.fps)
    with pytest.raises(StageFailed, match="8, Fraction"):
        _read_back(path, VideoShape(8, clip.shape.height, clip.shape.width), clip.fps)
