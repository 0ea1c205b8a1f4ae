"""Videos and animations as they come in: whole, upright, in their own colours, or refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from serve_app.core.errors import InvalidClip, TooLarge
from serve_app.core.filetype import GIF
from serve_app.core.footage import Bounds, check_clip, is_animation, read_clip
from tests.judging.films import FPS, animation, film, pan, still

BOUNDS = Bounds()
CONTAINERS = [
    ("mp4", "libx264", "yuv420p"),
    ("mov", "libx264", "yuv422p10le"),
    ("matroska", "ffv1", "yuv444p"),
    ("webm", "libvpx-vp9", "yuv420p"),
    ("avi", "mpeg4", "yuv420p"),
    ("mpegts", "libx264", "yuv420p"),
    ("flv", "flv1", "yuv420p"),
    ("asf", "wmv2", "yuv420p"),
    ("yuv4mpegpipe", "rawvideo", "yuv420p"),
]


@pytest.mark.parametrize(("container", "codec", "pix_fmt"), CONTAINERS, ids=lambda each: str(each))
def test_a_video_in_any_container_comes_back_as_it_was(container: str, codec: str, pix_fmt: str) -> None:
    frames = pan()
    clip = read_clip(film(frames, container, codec, pix_fmt), BOUNDS)
    assert clip.frames.shape == frames.shape
    assert clip.fps == FPS
    assert np.abs(clip.frames.astype(int) - frames).mean() < 8  # what the codecs leave


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG"])
def test_an_animation_is_a_clip_with_the_rate_of_its_durations(kind: str) -> None:
    frames = pan()
    clip = read_clip(animation(frames, kind), BOUNDS)
    assert clip.frames.shape == frames.shape
    assert clip.fps == 25
    assert np.abs(clip.frames.astype(int) - frames).mean() < 12


def test_uneven_durations_make_their_mean_rate() -> None:
    assert read_clip(animation(pan(4), "WebP", [50, 50, 100, 200]), BOUNDS).fps == 10


@pytest.mark.parametrize("size", [(91, 161), (3, 5), (1, 1), (2, 301)])
def test_odd_sizes_stay_as_they_are(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3)).astype(np.uint8)
    assert read_clip(film(frames, "matroska", "ffv1", "bgr0"), BOUNDS).frames.shape == frames.shape
    assert (read_clip(film(frames, "matroska", "ffv1", "bgr0"), BOUNDS).frames == frames).all()


def test_grey_video_is_rgb() -> None:
    clip = read_clip(film(pan(), "matroska", "ffv1", "gray"), BOUNDS)
    assert np.ptp(clip.frames, axis=-1).max() <= 1


def test_transparency_is_laid_over_white() -> None:
    pictures = [Image.new("RGBA", (32, 16), (200, 0, 0, 0 if step else 255)) for step in range(3)]
    data = io.BytesIO()
    pictures[0].save(data, "WEBP", save_all=True, append_images=pictures[1:], duration=40, lossless=True)
    clip = read_clip(data.getvalue(), BOUNDS)
    assert clip.frames[0, 0, 0].tolist() == [200, 0, 0]
    assert clip.frames[-1].min() == 255


@pytest.mark.parametrize("height", [360, 720])
def test_an_untagged_video_has_the_colours_that_players_show(height: int) -> None:
    """Read as BT.601, the green of an HD video would be off by some twenty levels."""
    green = np.zeros((2, height, 64, 3), np.uint8)
    green[:] = (20, 180, 40)
    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as file:
        stream = file.add_stream("ffv1", rate=24)
        stream.height, stream.width, stream.pix_fmt = height, 64, "yuv444p"
        for pixels in green:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv444p", dst_colorspace="ITU709" if height >= 720 else "ITU601"
            )
            frame.colorspace = 2
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert np.abs(read_clip(data.getvalue(), BOUNDS).frames.astype(int) - green).max() <= 3


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.97])
@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("matroska", "libx264", {}),
        ("webm", "libvpx-vp9", {}),
        ("avi", "mpeg4", {}),
    ],
    ids=["mp4", "fragmented", "matroska", "webm", "avi"],
)
def test_a_video_that_ends_too_early_is_refused(
    container: str, codec: str, options: dict[str, str], cut: float
) -> None:
    data = film(pan(40), container, codec, **options)
    with pytest.raises(InvalidClip, match=r"clip: the .* is truncated or damaged"):
        read_clip(data[: int(len(data) * cut)], BOUNDS)


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG"])
@pytest.mark.parametrize("cut", [0.3, 0.7, 0.99])
def test_an_animation_that_ends_too_early_is_refused(kind: str, cut: float) -> None:
    data = animation(pan(), kind)
    with pytest.raises(InvalidClip):
        read_clip(data[: int(len(data) * cut)], BOUNDS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"just words", "no video or animation that we know"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/secret.ts\n", "no video or animation that we know"),
        (still(pan(1)[0], "JPEG"), "a JPEG picture, not a video"),
    ],
    ids=["empty", "text", "playlist", "picture"],
)
@pytest.mark.parametrize("read", [read_clip, check_clip])
def test_what_is_no_video_is_named(read: object, data: bytes, words: str) -> None:
    assert callable(read)
    with pytest.raises(InvalidClip, match=words):
        read(data, BOUNDS)


def test_sound_alone_is_no_video() -> None:
    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as file:
        stream = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(InvalidClip, match="holds no video"):
        check_clip(data.getvalue(), BOUNDS)


def test_frames_beyond_the_bound_are_refused_whatever_the_header_says() -> None:
    data = film(pan(40), "matroska")  # it announces no number of frames
    with pytest.raises(TooLarge, match="more than 9 frames of 160x90"):
        read_clip(data, Bounds(clip_bytes=9 * 160 * 90 * 3 + 5))


def test_a_frame_beyond_the_bound_is_refused_by_the_header() -> None:
    for data in (film(pan()), animation(pan(), "WebP")):
        with pytest.raises(TooLarge):
            check_clip(data, Bounds(frame_px=160 * 90 - 1))


def test_a_picture_with_more_frames_is_told_from_a_still() -> None:
    assert is_animation(animation(pan(5), "GIF"), GIF)
    assert not is_animation(still(pan(1)[0], "GIF"), GIF)
    assert not is_animation(b"GIF89a", GIF)


def test_a_phone_held_upright_gives_an_upright_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = read_clip(film(pan()), BOUNDS)
    turned = read_clip(_turned(film(pan())), BOUNDS)
    assert turned.frames.shape[1:3] == (160, 90)
    assert any((np.rot90(plain.frames, way, axes=(1, 2)) == turned.frames).all() for way in (1, 3))
    assert plain.fps == Fraction(FPS)


def _turned(data: bytes) -> bytes:
    """Write a display matrix of 90 degrees into the track header of an MP4 (ISO/IEC 14496-12, `tkhd`)."""
    at = data.index(b"tkhd") + 4 + 40
    one, none, last = (value.to_bytes(4, "big", signed=True) for value in (0x10000, 0, 0x40000000))
    minus = (-0x10000).to_bytes(4, "big", signed=True)
    matrix = none + one + none + minus + none + none + none + none + last
    return data[:at] + matrix + data[at + 36 :]


def _gif(*sizes: tuple[int, int]) -> bytes:
    """Return a GIF of a canvas of 1x1 whose frames claim ``sizes``, each with next to no data."""
    frames = (b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\x02\x44\x01\0" for size in sizes)
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"".join(frames) + b";"


@pytest.mark.parametrize("read", [read_clip, check_clip])
def test_a_gif_whose_first_frame_claims_to_be_huge_is_refused(read: Callable[[bytes, Bounds], object]) -> None:
    with pytest.raises(InvalidClip, match="GIF is truncated or damaged"):
        read(_gif((65535, 65535)), BOUNDS)
    assert not is_animation(_gif((65535, 65535)), GIF)


def test_a_gif_whose_canvas_grows_beyond_the_bound_is_too_large() -> None:
    with pytest.raises(TooLarge, match="a frame is 300x300"):
        read_clip(_gif((1, 1), (300, 300)), Bounds(frame_px=10_000))


def _growing(*sizes: tuple[int, int]) -> bytes:
    """Return a Matroska file of one JPEG for each of ``sizes``; its header knows of the first alone."""
    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as file:
        stream = file.add_stream("mjpeg", rate=24)
        for place, (width, height) in enumerate(sizes):
            encoder = stream.codec_context if place == 0 else av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
            encoder.time_base = Fraction(1, 24)
            frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
            for packet in encoder.encode(frame.reformat(format="yuvj420p")):
                packet.stream, packet.pts, packet.dts = stream, place, place
                packet.time_base = Fraction(1, 24)
                file.mux(packet)
    return data.getvalue()


@pytest.mark.parametrize(
    ("size", "error", "words"),
    [((240, 135), TooLarge, "a frame is 240x135"), ((2000, 1000), InvalidClip, "damaged: Invalid")],
    ids=["measured when it is decoded", "refused by the decoder"],
)
def test_a_video_that_outgrows_its_header_is_refused_before_its_frames_are_converted(
    size: tuple[int, int], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read_clip(_growing((160, 90), size), Bounds(frame_px=160 * 90))


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG", "film"])
def test_more_frames_than_the_bound_are_too_large(kind: str) -> None:
    data = film(pan(6), "matroska") if kind == "film" else animation(pan(6), kind)
    assert len(read_clip(data, Bounds(frames=6)).frames) == 6
    with pytest.raises(TooLarge, match="more than 5 frames of 160x90; the limit is 5 frames"):
        read_clip(data, Bounds(frames=5))
