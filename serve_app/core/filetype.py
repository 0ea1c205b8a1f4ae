"""What a file is, by its first bytes. Its name and its declared type say what somebody believed: they do not decide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

HEAD_BYTES = 4096
"""As much of a file as `type_of` looks at."""


@dataclass(frozen=True)
class FileType:
    """``name`` as people say it, the usual ``suffixes`` and ``media_type``, and FFmpeg's ``demuxer`` if it is a video.

    ``is_animated``: one that Pillow plays frame by frame, if it holds more than one.
    """

    name: str
    suffixes: tuple[str, ...]
    media_type: str
    demuxer: str | None = None
    is_animated: bool = False


PNG = FileType("PNG", (".png", ".apng"), "image/png", is_animated=True)
JPEG = FileType("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "image/jpeg")
WEBP = FileType("WebP", (".webp",), "image/webp", is_animated=True)
GIF = FileType("GIF", (".gif",), "image/gif", is_animated=True)
TIFF = FileType("TIFF", (".tif", ".tiff"), "image/tiff")
BMP = FileType("BMP", (".bmp", ".dib"), "image/bmp")
ISO_MEDIA = FileType("MP4 or MOV", (".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2"), "video/mp4", "mov")
MATROSKA = FileType("Matroska or WebM", (".mkv", ".webm", ".mka"), "video/x-matroska", "matroska")
AVI = FileType("AVI", (".avi",), "video/x-msvideo", "avi")
MPEG_TS = FileType("MPEG transport stream", (".ts", ".m2ts", ".mts"), "video/mp2t", "mpegts")
MPEG_PS = FileType("MPEG program stream", (".mpg", ".mpeg", ".vob"), "video/mpeg", "mpeg")
OGG = FileType("Ogg", (".ogv", ".ogg", ".ogx"), "video/ogg", "ogg")
FLV = FileType("FLV", (".flv", ".f4v"), "video/x-flv", "flv")
ASF = FileType("ASF", (".wmv", ".asf"), "video/x-ms-asf", "asf")
Y4M = FileType("YUV4MPEG2", (".y4m",), "video/x-yuv4mpeg", "yuv4mpegpipe")

TYPES = (PNG, JPEG, WEBP, GIF, TIFF, BMP, ISO_MEDIA, MATROSKA, AVI, MPEG_TS, MPEG_PS, OGG, FLV, ASF, Y4M)

_MAGIC: tuple[tuple[int, bytes, FileType], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"GIF8", GIF),
    (0, b"II*\0", TIFF),
    (0, b"MM\0*", TIFF),
    (8, b"WEBP", WEBP),
    (8, b"AVI ", AVI),
    (0, b"\x1a\x45\xdf\xa3", MATROSKA),
    (0, b"OggS", OGG),
    (0, b"FLV\x01", FLV),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ASF),
    (0, b"YUV4MPEG2 ", Y4M),
    (0, b"\0\0\x01\xba", MPEG_PS),
    (4, b"moov", ISO_MEDIA),
    (4, b"mdat", ISO_MEDIA),
    (4, b"wide", ISO_MEDIA),
)
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"jxl ")
"""What follows `ftyp` in pictures that borrow MP4's container; nobody here reads them."""
_TS_PACKET_BYTES = 188


def type_of(head: bytes) -> FileType | None:
    """Return what begins with ``head`` (`HEAD_BYTES` are enough), or None for what is not read here.

    A playlist or a list of other files has no type: a demuxer that followed one would open what it names.
    """
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _STILL_BRANDS else ISO_MEDIA
    if head.startswith(b"BM") and len(head) >= 26 and head[14:18] in _BITMAP_HEADERS:
        return BMP
    if head[8:12] in (b"WEBP", b"AVI ") and not head.startswith(b"RIFF"):
        return None
    found = next((kind for at, magic, kind in _MAGIC if head[at : at + len(magic)] == magic), None)
    return found or (MPEG_TS if _is_transport_stream(head) else None)


_BITMAP_HEADERS = tuple(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))
"""Lengths of the header that follows `BM`: two letters alone would take a text for a picture."""


def _is_transport_stream(head: bytes) -> bool:
    return len(head) > 3 * _TS_PACKET_BYTES and all(head[place * _TS_PACKET_BYTES] == 0x47 for place in range(4))


def mislabelled(file_name: str, kind: FileType) -> str | None:
    """Return a sentence when ``file_name`` ends as another type's does, else None. An unknown ending says nothing."""
    suffix = PurePath(file_name).suffix.lower()
    is_known = any(suffix in each.suffixes for each in TYPES)
    if not is_known or suffix in kind.suffixes:
        return None
    return f"its name ends in {suffix}, and its first bytes are those of {kind.name}"
