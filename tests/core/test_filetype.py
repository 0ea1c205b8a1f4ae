"""What a file is, by its first bytes alone."""

from __future__ import annotations

import pytest

from serve_app.core.filetype import JPEG, PNG, FileType, mislabelled, type_of
from tests.judging.films import animation, film, pan, still


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "GIF", "TIFF", "BMP"])
def test_a_picture_is_told_by_its_bytes(kind: str) -> None:
    found = type_of(still(pan(1)[0], kind))
    assert isinstance(found, FileType)
    assert (found.name, found.demuxer) == (kind, None)


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [
        ("mp4", "libx264", "MP4 or MOV"),
        ("mov", "libx264", "MP4 or MOV"),
        ("matroska", "libx264", "Matroska or WebM"),
        ("webm", "libvpx-vp9", "Matroska or WebM"),
        ("avi", "mpeg4", "AVI"),
        ("mpegts", "libx264", "MPEG transport stream"),
        ("mpeg", "mpeg1video", "MPEG program stream"),
        ("flv", "flv1", "FLV"),
        ("asf", "wmv2", "ASF"),
        ("yuv4mpegpipe", "rawvideo", "YUV4MPEG2"),
    ],
)
def test_a_video_is_told_by_its_bytes_and_has_a_demuxer(container: str, codec: str, name: str) -> None:
    found = type_of(film(pan(4), container, codec))
    assert found is not None
    assert found.name == name
    assert found.demuxer


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"hello, this is no picture",
        b"BMW is a car, and its name begins like a bitmap",
        b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\0\0\0\x1cftypavif",
        b"\0\0\0\x1cftypheic",
        b"XXXX\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WAVE",
        b"%PDF-1.7",
    ],
    ids=lambda head: repr(head[:12]),
)
def test_what_is_neither_has_no_type(head: bytes) -> None:
    assert type_of(head) is None


def test_a_name_that_contradicts_the_bytes_is_a_sentence() -> None:
    assert mislabelled("clip.mp4", PNG) == "its name ends in .mp4, and its first bytes are those of PNG"
    assert mislabelled("PHOTO.JPG", JPEG) is None
    assert mislabelled("photo", JPEG) is None
    assert mislabelled("photo.v2", JPEG) is None


def test_an_animation_is_told_like_its_still() -> None:
    assert type_of(animation(pan(3), "GIF")) == type_of(still(pan(1)[0], "GIF"))
