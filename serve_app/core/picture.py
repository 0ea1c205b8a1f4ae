"""From the bytes of an upload to an `Image`: whole, upright, RGB, and never larger than was allowed."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from serve_app.core.errors import InvalidPicture, TooLarge
from serve_app.core.media import Image, Pixels

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftyp", "MP4 or MOV"),
)
"""Offset, magic and name of formats that people send by mistake, so that the answer can name them."""

_BROKEN = (
    *(OSError, SyntaxError, ValueError, IndexError, TypeError, KeyError, EOFError, OverflowError),
    *(struct.error, zlib.error),
)
"""What Pillow's readers raise on damaged bytes; `Image.open` catches much the same list around its own plugins."""


def read_picture(data: bytes, *, max_px: int, field: str = "image") -> Image:
    """Return the JPEG, PNG or WebP still in ``data`` as RGB uint8, upright by its EXIF orientation.

    The format is told by the magic bytes, never by a name or a declared type. The size is checked from the header,
    before anything is decoded: a picture of more than ``max_px`` px costs no memory. Transparency is laid over white,
    16-bit grey is scaled (not clipped) to 8 bits, CMYK and grey become RGB. An embedded colour profile is not applied:
    the values are taken as sRGB.

    Raises TooLarge beyond ``max_px``, InvalidPicture for anything that is not one whole still; both name ``field``.
    """
    kind = _kind_of(data, field)
    width, height = _size_of(data, kind, field)
    if width < 1 or height < 1:
        raise InvalidPicture(field, f"the {kind} is {width}x{height}: it has no pixels")
    if width * height > max_px:
        raise TooLarge(field, f"the {kind} is {width}x{height}, {width * height} px; the limit is {max_px} px")
    try:
        picture = _open(data, kind)
        frames = getattr(picture, "n_frames", 1)
        pixels = _to_rgb(picture) if frames == 1 and picture.size == (width, height) else None
    except _BROKEN as error:
        raise InvalidPicture(field, f"the {kind} is truncated or damaged: {error}") from error
    if pixels is None:
        raise InvalidPicture(field, f"the {kind} holds {frames} frames or contradictory sizes; send one still")
    return Image(pixels)


def _kind_of(data: bytes, field: str) -> str:
    if not data:
        raise InvalidPicture(field, "the upload is empty")
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    name = next((name for at, magic, name in _OTHERS if data[at : at + len(magic)] == magic), "no picture we know")
    raise InvalidPicture(field, f"JPEG, PNG and WebP are accepted; this is {name}")


def _size_of(data: bytes, kind: str, field: str) -> tuple[int, int]:
    """Return (width, height) from the header alone, in px; raise InvalidPicture when the bytes end too early."""
    try:
        if kind == "WebP":
            return _webp_size(data)
        if kind == "PNG":
            if b"IEND\xaeB`\x82" not in data:  # the last chunk with its checksum: Pillow does without
                raise ValueError("its end is missing")
            width, height = struct.unpack(">II", data[16:24])
            return int(width), int(height)
        return _open(data, kind).size  # Pillow reads a JPEG's markers here and decodes nothing
    except _BROKEN as error:
        raise InvalidPicture(field, f"the {kind} is truncated or damaged: {error}") from error


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read a WebP's canvas (RFC 9649): Pillow would allocate all of it on opening the file."""
    (riff_bytes,) = struct.unpack("<I", data[4:8])
    if riff_bytes + 8 > len(data):
        raise ValueError(f"{riff_bytes + 8} bytes were announced and {len(data)} came")
    chunk = data[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError(f"it begins with an unknown chunk {chunk!r}")


def _open(data: bytes, kind: str) -> PillowImage.Image:
    """Open without `Image.open`, whose limit on pixels is one global for the process, and warns before it refuses."""
    import io

    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    stream = io.BytesIO(data)
    if kind == "JPEG":
        return JpegImagePlugin.JpegImageFile(stream)
    if kind == "PNG":
        return PngImagePlugin.PngImageFile(stream)
    return WebPImagePlugin.WebPImageFile(stream)


def _to_rgb(picture: PillowImage.Image) -> Pixels:
    from PIL import Image as PillowImage
    from PIL import ImageOps

    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        levels = np.asarray(upright).astype(np.uint32)
        grey = np.minimum((levels + 128) // 257, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if upright.has_transparency_data:
        ground = PillowImage.new("RGBA", upright.size, "white")
        upright = PillowImage.alpha_composite(ground, upright.convert("RGBA"))
    return np.asarray(upright.convert("RGB")).copy()


def media_type_of(data: bytes, *, field: str = "image") -> str:
    """Return ``image/jpeg``, ``image/png`` or ``image/webp`` by the magic bytes; raise InvalidPicture for others."""
    return f"image/{_kind_of(data, field).lower()}"
