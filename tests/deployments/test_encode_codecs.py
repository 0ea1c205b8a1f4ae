"""HEVC, AV1, ten bits and NVENC in `encode.video`, and what made a clip in its file: each file is opened again."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as PillowImage
from pydantic import ValidationError

from deployments.encode.video import VideoEncoder
from deployments.nets.codecs import CODECS, check, nvenc_problem
from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Pixels
from serve_app.core.streaming import Chunk
from tests.deployments.desk import DeskContext
from tests.deployments.test_encode_video import encode, gliding, opened, sound, tone

MODERN = ["hevc", "av1"]
ORIGIN = {"stage": "generate.tiny", "model": "tiny", "seed": 7, "prompt": "café", "params": {"steps": 4}}
has_nvenc = nvenc_problem("h264_nvenc", 8) is None


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def lumas(desk: DeskContext, artifact: Artifact) -> Pixels:
    with opened(desk, artifact) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def plan(**params: Any) -> None:
    VideoEncoder.plan(VideoEncoder.Params.model_validate(params))


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("codec", MODERN)
def test_a_file_says_what_it_is_so_that_players_take_it(desk: DeskContext, codec: str, bit_depth: int) -> None:
    artifact = encode(desk, gliding(12, Fraction(30000, 1001)), codec=codec, bit_depth=bit_depth)
    with opened(desk, artifact) as container:
        stream = container.streams.video[0]
        found = stream.codec_context
        assert found.codec_tag == {"hevc": "hvc1", "av1": "av01"}[codec]
        assert found.pix_fmt == ("yuv420p" if bit_depth == 8 else "yuv420p10le")
        assert (found.colorspace, found.color_primaries, found.color_trc, found.color_range) == (1, 1, 1, 1)
        assert (stream.average_rate, stream.frames) == (Fraction(30000, 1001), 12)
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
    assert times == [index * Fraction(1001, 30000) for index in range(12)]
    assert artifact.facts["codec"] == codec


@pytest.mark.parametrize("codec", ["h264", *MODERN])
def test_the_frames_come_back_in_order_and_near(desk: DeskContext, codec: str) -> None:
    clip = gliding(8)
    seen = lumas(desk, encode(desk, clip, codec=codec, crf=10)).astype(int)
    wanted = lumas(desk, encode(desk, clip, crf=1)).astype(int)
    errors = np.abs(seen[:, None] - wanted[None]).mean(axis=(2, 3))
    assert (errors.argmin(axis=1) == np.arange(8)).all()
    assert errors.diagonal().max() < 3


def test_ten_bits_hold_a_slope_that_eight_cannot(desk: DeskContext) -> None:
    """Colours that a conversion to 8 bits would round to the same luma are apart in 10."""
    slope = np.zeros((1, 64, 256, 3), np.uint8)
    slope[..., 2] = np.arange(256)
    levels = {}
    for bit_depth in (8, 10):
        artifact = encode(desk, Clip(slope, Fraction(24), ""), codec="hevc", crf=1, bit_depth=bit_depth)
        with opened(desk, artifact) as container:
            frame = next(container.decode(video=0))
            levels[bit_depth] = len(np.unique(frame.to_ndarray()[32, :256]))
    assert levels[10] > 2 * levels[8]


@pytest.mark.parametrize("rate", [{}, {"bitrate_bps": 400_000}])
@pytest.mark.parametrize("codec", MODERN)
def test_the_same_clip_gives_the_same_bytes(desk: DeskContext, codec: str, rate: dict[str, int]) -> None:
    """With two threads, SVT-AV1 holds a rate a little otherwise every time."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 96, 160, 3), dtype=np.uint8)
    clip = Clip(noise, Fraction(24), "noise") if rate else gliding()
    assert len({encode(desk, clip, codec=codec, **rate).digest for _ in range(3)}) == 1


def test_the_bytes_do_not_tell_of_the_machine(desk: DeskContext) -> None:
    content = desk.artifacts.path_of(encode(desk, gliding(), codec="hevc").digest).read_bytes()
    assert b"x265" not in content, "x265 writes its options down, and what the CPU can do is among them"


@pytest.mark.parametrize("codec", MODERN)
def test_sound_rides_with_every_codec(desk: DeskContext, codec: str) -> None:
    artifact = encode(desk, replace(gliding(24), audio=tone(1.0, 48000, 1)), codec=codec)
    assert np.abs(sound(desk, artifact)).max() > 0.4


@pytest.mark.parametrize("codec", MODERN)
def test_a_lower_crf_is_larger_and_a_bitrate_is_held(desk: DeskContext, codec: str) -> None:
    good, poor = encode(desk, gliding(), codec=codec, crf=12), encode(desk, gliding(), codec=codec, crf=45)
    assert good.size_bytes > 2 * poor.size_bytes
    noise = np.random.default_rng(0).integers(0, 256, (48, 96, 160, 3), dtype=np.uint8)
    held = encode(desk, Clip(noise, Fraction(24), "noise"), codec=codec, bitrate_bps=1_200_000)
    assert 600_000 < held.size_bytes * 8 / 2 < 2_400_000
    assert desk.notes["video"]["bitrate_bps"] == 1_200_000
    assert "crf" not in desk.notes["video"]


@pytest.mark.parametrize(
    ("codec", "encoder", "crf"), [("h264", "libx264", 18), ("hevc", "libx265", 22), ("av1", "libsvtav1", 30)]
)
def test_the_report_says_what_encoded(desk: DeskContext, codec: str, encoder: str, crf: int) -> None:
    encode(desk, gliding(2), codec=codec)
    wanted = {"encoder": encoder, "crf": crf, "preset": "fast", "threads": 2, "bit_depth": 8}
    assert desk.notes["video"] == wanted


@pytest.mark.skipif(has_nvenc, reason="this machine has NVENC")
def test_without_nvenc_auto_says_why_it_is_software_and_nvenc_is_refused(desk: DeskContext) -> None:
    encode(desk, gliding(2), codec="hevc", encoder="auto")
    assert desk.notes["video"]["encoder"] == "libx265"
    assert "hevc_nvenc" in desk.notes["video"]["because"]
    with pytest.raises(InvalidInput, match="hevc_nvenc") as caught:
        encode(desk, gliding(2), codec="hevc", encoder="nvenc")
    assert caught.value.field == "encoder"
    assert list(desk.scratch.iterdir()) == []


@pytest.mark.skipif(not has_nvenc, reason="this machine has no NVENC")
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_nvenc_writes_a_file_that_others_decode(desk: DeskContext, codec: str) -> None:
    clip = gliding(24, height=256, width=448)
    artifact = encode(desk, clip, codec=codec, encoder="auto")
    assert desk.notes["video"]["encoder"] == f"{codec}_nvenc"
    assert lumas(desk, artifact).shape == (24, 256, 448)


def test_an_encoder_that_the_build_lacks_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"codec: AV1 needs libnowhere, which PyAV's FFmpeg"):
        check(replace(CODECS["av1"], software="libnowhere"), "software")
    with pytest.raises(InvalidInput, match=r"encoder: AV1 needs no_nvenc"):
        check(replace(CODECS["av1"], nvenc="no_nvenc"), "nvenc")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"bit_depth": 10}, "bit_depth"),
        ({"crf": 52}, "crf"),
        ({"codec": "hevc", "crf": 52}, "crf"),
        ({"codec": "av1", "crf": 30, "bitrate_bps": 1_000_000}, "crf"),
        ({"format": "gif", "codec": "hevc"}, "codec"),
        ({"format": "webp", "bit_depth": 10}, "bit_depth"),
        ({"format": "webp", "encoder": "auto"}, "encoder"),
    ],
)
def test_params_without_effect_are_refused_at_plan_time(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan(**params)
    assert caught.value.field == field


def test_what_a_codec_allows_is_planned() -> None:
    plan(codec="av1", crf=63, bit_depth=10, preset="slower")
    plan(codec="hevc", crf=51, encoder="auto")


@pytest.mark.parametrize("wrong", [{"codec": "av1", "crf": 64}, {"bit_depth": 12}, {"encoder": "qsv"}])
def test_params_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VideoEncoder.Params.model_validate(wrong)


@pytest.mark.parametrize("codec", MODERN)
def test_a_size_below_the_codecs_least_is_refused_and_named(desk: DeskContext, codec: str) -> None:
    with pytest.raises(InvalidInput, match="width: 8 px"):
        encode(desk, Clip(np.zeros((2, 32, 8, 3), np.uint8), Fraction(24), ""), codec=codec)
    assert encode(desk, Clip(np.zeros((1, 16, 16, 3), np.uint8), Fraction(24), ""), codec=codec).size_bytes


@pytest.mark.parametrize(("params", "folds"), [({}, True), ({"codec": "av1"}, False), ({"encoder": "auto"}, False)])
def test_only_x264_encodes_a_clip_chunk_by_chunk(params: dict[str, Any], folds: bool) -> None:
    assert VideoEncoder.folds(VideoEncoder.Params.model_validate(params), VideoEncoder.Weights()) is folds


def made_from(desk: DeskContext, artifact: Artifact) -> Any:
    path = desk.artifacts.path_of(artifact.digest)
    if artifact.media_type == "video/mp4":
        with av.open(str(path)) as container:
            text = container.metadata.get("comment")
    else:
        with PillowImage.open(path) as picture:
            text = picture.getexif().get(0x010E) or picture.info.get("comment")
    return json.loads(text) if text else None


@pytest.mark.parametrize("kind", ["mp4", "webp", "gif"])
def test_what_made_a_clip_is_in_its_file(desk: DeskContext, kind: str) -> None:
    clip = replace(gliding(3), origin={**ORIGIN, "prompt": "long " * 2000})
    found = made_from(desk, encode(desk, clip, format=kind))
    assert {name: found[name] for name in ORIGIN} == clip.origin


@pytest.mark.parametrize("kind", ["mp4", "webp", "gif"])
def test_nothing_of_it_is_embedded_against_ones_will(desk: DeskContext, kind: str) -> None:
    artifact = encode(desk, replace(gliding(3), origin={**ORIGIN, "prompt": "secret"}), format=kind, embed=False)
    content = desk.artifacts.path_of(artifact.digest).read_bytes()
    assert made_from(desk, artifact) is None
    assert not [word for word in (b"secret", b"animatic", b"Greenlight") if word in content]


def test_what_made_a_clip_is_in_the_file_of_its_chunks(desk: DeskContext) -> None:
    stage, params, clip = VideoEncoder(), VideoEncoder.Params(), replace(gliding(8), origin=ORIGIN)
    stage.load(VideoEncoder.Weights(), desk)
    parts = [stage.part(params, clip=Chunk(replace(clip, frames=clip.frames[at : at + 4]), at, 8)) for at in (0, 4)]
    assert made_from(desk, stage.gather(params, clip=parts)) == made_from(desk, encode(desk, clip))


def test_equal_frames_are_all_in_a_gif(desk: DeskContext) -> None:
    """Pillow's writer of animations makes one of them."""
    still = Clip(np.repeat(gliding(1).frames, 5, axis=0), Fraction(25), "still")
    with PillowImage.open(desk.artifacts.path_of(encode(desk, still, format="gif").digest)) as picture:
        assert picture.n_frames == 5  # type: ignore[attr-defined]
