"""From the bytes of an upload to an `Image`: whole, upright, RGB, and never larger than was allowed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import DecompressionBombError

from serve_app.core.errors import InvalidPicture, TooLarge
from serve_app.core.media import Image, Pixels

if TYPE_CHECKING:
    from PIL import Image as PillowImage

UPLOADS = ("JPEG", "PNG", "WebP")
"""What a generator is sent."""
STILLS = (*UPLOADS, "GIF", "TIFF", "BMP")
"""What a judge can look at besides."""
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

BROKEN = (
    *(OSError, SyntaxError, ValueError, IndexError, TypeError, KeyError, EOFError, OverflowError),
    *(struct.error, zlib.error, DecompressionBombError),
)
"""What Pillow's readers raise on damaged bytes; `Image.open` catches much the same list around its own plugins."""


def read_picture(data: bytes, *, max_px: int, field: str = "image", kinds: tuple[str, ...] = UPLOADS) -> Image:
    """Return the still in ``data``, one of ``kinds``, as RGB uint8, upright by its EXIF orientation.

    The format is told by the magic bytes, never by a name or a declared type. The size is checked from the header,
    before anything is decoded: a picture of more than ``max_px`` px costs no memory. Transparency is laid over white,
    16-bit grey is scaled (not clipped) to 8 bits, CMYK and grey become RGB. An embedded colour profile is not applied:
    the values are taken as sRGB.

    Raises TooLarge beyond ``max_px``, InvalidPicture for anything that is not one whole still; both name ``field``.
    """
    kind = _kind_of(data, field, kinds)
    width, height = _size_of(data, kind, field)
    if width < 1 or height < 1:
        raise InvalidPicture(field, f"the {kind} is {width}x{height}: it has no pixels")
    if width * height > max_px:
        raise TooLarge(field, f"the {kind} is {width}x{height}, {width * height} px; the limit is {max_px} px")
    try:
        picture = _open(data, kind)
        frames = getattr(picture, "n_frames", 1)
        pixels = _to_rgb(picture) if frames == 1 and picture.size == (width, height) else None
    except BROKEN as error:
        raise InvalidPicture(field, f"the {kind} is truncated or damaged: {error}") from error
    if pixels is None:
        raise InvalidPicture(field, f"the {kind} holds {frames} frames or contradictory sizes; send one still")
    return Image(pixels)


def _kind_of(data: bytes, field: str, kinds: tuple[str, ...] = UPLOADS) -> str:
    if not data:
        raise InvalidPicture(field, "the upload is empty")
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    name = next((name for at, magic, name in _OTHERS if data[at : at + len(magic)] == magic), "no picture we know")
    if name in kinds:
        return name
    raise InvalidPicture(field, f"{', '.join(kinds[:-1])} and {kinds[-1]} are accepted; this is {name}")


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
    except BROKEN as error:
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

    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    readers: dict[str, Callable[[io.BytesIO], PillowImage.Image]] = {
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
    }
    return readers[kind](io.BytesIO(data))


def _to_rgb(picture: PillowImage.Image) -> Pixels:
    from PIL import ImageOps

    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F":
        raise ValueError("floating-point values have no agreed black and white; save it with 8 or 16 bits")
    if upright.mode.startswith("I"):
        levels = np.asarray(upright).astype(np.int64)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise ValueError("32-bit values have no agreed black and white; save it with 8 or 16 bits")
        grey = np.minimum((levels + 128) // 257, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(flattened(upright)).copy()


def flattened(picture: PillowImage.Image) -> PillowImage.Image:
    """Return ``picture`` as RGB, laid over white where it is transparent."""
    from PIL import Image as PillowImage

    if picture.has_transparency_data:
        ground = PillowImage.new("RGBA", picture.size, "white")
        picture = PillowImage.alpha_composite(ground, picture.convert("RGBA"))
    return picture.convert("RGB")


def open_animation(data: bytes, kind: str, max_px: int, field: str) -> PillowImage.Image:
    """Return the GIF, WebP or PNG in ``data`` with its frames to be sought; nothing of it is decoded yet.

    Raises TooLarge, InvalidPicture or one of `BROKEN`.
    """
    width, height = _size_of(data, kind, field)
    if width * height > max_px:
        raise TooLarge(field, f"the {kind} is {width}x{height}; the limit is {max_px} px")
    return _open(data, kind)


def media_type_of(data: bytes, *, field: str = "image") -> str:
    """Return ``image/jpeg``, ``image/png`` or ``image/webp`` by the magic bytes; raise InvalidPicture for others."""
    return f"image/{_kind_of(data, field).lower()}"
