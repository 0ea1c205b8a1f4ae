"""Uploads: what is read, and what is refused by name."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from skimage import data

from serve_app.core.errors import InvalidPicture, TooLarge
from serve_app.core.picture import STILLS, read_picture

MAX_PX = 1_000_000


def picture(width: int = 96, height: int = 64) -> PillowImage.Image:
    return PillowImage.fromarray(data.astronaut()).resize((width, height))


def encoded(image: PillowImage.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + end


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": True, "exact": True}])
def test_a_lossless_webp_comes_back_exactly(options: dict[str, Any]) -> None:
    assert np.array_equal(
        read_picture(encoded(picture(), "WEBP", **options), max_px=MAX_PX).pixels, np.asarray(picture())
    )


def test_a_png_comes_back_exactly_and_writable() -> None:
    pixels = read_picture(encoded(picture(), "PNG"), max_px=MAX_PX).pixels
    assert np.array_equal(pixels, np.asarray(picture()))
    assert pixels.flags.writeable


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_pictures_are_read(kind: str) -> None:
    pixels = read_picture(encoded(picture(), kind, quality=95), max_px=MAX_PX).pixels
    assert np.abs(pixels.astype(int) - np.asarray(picture())).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = PillowImage.Exif()
    exif[0x112] = orientation
    pixels = read_picture(encoded(picture(), "PNG", exif=exif), max_px=MAX_PX).pixels
    assert pixels.shape == ((64, 96, 3) if orientation < 5 else (96, 64, 3))
    turns = {1: 0, 3: 2, 6: 3, 8: 1}
    if orientation in turns:
        assert np.array_equal(pixels, np.rot90(np.asarray(picture()), turns[orientation]))


def test_transparency_is_laid_over_white() -> None:
    clear = picture().convert("RGBA")
    clear.putalpha(0)
    assert (read_picture(encoded(clear, "PNG"), max_px=MAX_PX).pixels == 255).all()


def test_half_transparent_black_becomes_grey() -> None:
    half = PillowImage.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert (read_picture(encoded(half, "PNG"), max_px=MAX_PX).pixels == 127).all()


def test_a_transparent_palette_colour_becomes_white() -> None:
    drawn = PillowImage.new("P", (4, 4), 1)
    drawn.putpalette([0, 0, 0, 200, 10, 10])
    drawn.putpixel((0, 0), 0)
    pixels = read_picture(encoded(drawn, "PNG", transparency=0), max_px=MAX_PX).pixels
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [200, 10, 10]


def test_grey_of_16_bits_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None, :].repeat(2, axis=0)
    pixels = read_picture(encoded(PillowImage.fromarray(ramp), "PNG"), max_px=MAX_PX).pixels
    assert np.array_equal(pixels[0, :, 0], np.arange(256))


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P"])
def test_other_modes_become_rgb(mode: str) -> None:
    assert read_picture(encoded(picture().convert(mode), "PNG"), max_px=MAX_PX).pixels.shape == (64, 96, 3)


def test_cmyk_becomes_rgb_and_is_not_inverted() -> None:
    white = PillowImage.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert read_picture(encoded(white, "JPEG"), max_px=MAX_PX).pixels.min() > 250


def test_one_pixel_is_a_picture() -> None:
    assert read_picture(encoded(picture(1, 1), "PNG"), max_px=1).pixels.shape == (1, 1, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
def test_truncated_pictures_are_refused(kind: str, share: float) -> None:
    whole = encoded(picture(), kind)
    with pytest.raises(InvalidPicture) as caught:
        read_picture(whole[: int(len(whole) * share)], max_px=MAX_PX, field="reference")
    assert caught.value.field == "reference"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_even_the_last_byte_may_not_be_missing(kind: str) -> None:
    with pytest.raises(InvalidPicture, match="truncated or damaged"):
        read_picture(encoded(picture(), kind)[:-1], max_px=MAX_PX)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_limit_is_exact(kind: str) -> None:
    whole = encoded(picture(), kind)
    assert read_picture(whole, max_px=96 * 64).width == 96
    with pytest.raises(TooLarge, match="96x64, 6144 px; the limit is 6143 px"):
        read_picture(whole, max_px=96 * 64 - 1)


def test_a_bomb_is_refused_from_its_header() -> None:
    with pytest.raises(TooLarge, match="50000x50000"):
        read_picture(png_header(50_000, 50_000), max_px=MAX_PX)


def test_a_webp_bomb_is_refused_before_its_canvas_is_made() -> None:
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + (16_000_000).to_bytes(3, "little") * 2
    bomb = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    with pytest.raises(TooLarge, match="16000001x16000001"):
        read_picture(bomb, max_px=MAX_PX)


def test_a_limit_above_pillows_own_is_kept_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidPicture, match="truncated"):
            read_picture(png_header(10_000, 10_000), max_px=200_000_000)


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(InvalidPicture, match="no pixels"):
        read_picture(png_header(0, 5), max_px=MAX_PX)


@pytest.mark.parametrize(
    ("data_", "name"),
    [
        (encoded(picture(), "GIF"), "GIF"),
        (encoded(picture(), "BMP"), "BMP"),
        (encoded(picture(), "TIFF"), "TIFF"),
        (b"\0\0\0\x18ftypmp42", "MP4"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"<!doctype html>", "no picture we know"),
        (b"\0", "no picture we know"),
    ],
)
def test_other_formats_are_refused_by_name(data_: bytes, name: str) -> None:
    with pytest.raises(InvalidPicture, match=name):
        read_picture(data_, max_px=MAX_PX)


def test_an_empty_upload_says_so() -> None:
    with pytest.raises(InvalidPicture, match="empty"):
        read_picture(b"", max_px=MAX_PX)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_no_still(kind: str) -> None:
    frames = [picture(), PillowImage.new("RGB", (96, 64), "red")]
    animation = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(InvalidPicture, match="2 frames"):
        read_picture(animation, max_px=MAX_PX)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_never_escape_as_another_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    wholes = [encoded(picture(), kind) for kind in ("JPEG", "PNG", "WEBP")]
    for _ in range(150):
        damaged = bytearray(wholes[int(random.integers(3))])
        for _ in range(int(random.integers(1, 5))):
            damaged[int(random.integers(min(400, len(damaged))))] = int(random.integers(256))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow speaks of corrupt EXIF in passing
            try:
                read_picture(bytes(damaged), max_px=MAX_PX)
            except (InvalidPicture, TooLarge):
                continue


def test_a_small_file_that_claims_a_huge_frame_is_refused_and_no_error_of_pillows() -> None:
    screen, frame = struct.pack("<HHBBB", 1, 1, 0, 0, 0), struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
    bomb = b"GIF89a" + screen + b"," + frame + b"\x02\x01\x44\0;"
    with pytest.raises(InvalidPicture, match="GIF is truncated or damaged"):
        read_picture(bomb, max_px=MAX_PX, kinds=STILLS)
