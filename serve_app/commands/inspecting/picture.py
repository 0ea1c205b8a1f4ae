"""What a picture is, still or moving: decoded whole, so that what is damaged is noticed."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from serve_app.commands.inspecting.embedded import Embedded, found_in_picture
from serve_app.core.footage import Bounds
from serve_app.core.picture import STILLS, open_animation, read_picture

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_ORIENTATION = 0x0112
_SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_PNG_DEPTH_AT = 24


def look_into_picture(data: bytes, kind: str, field: str) -> tuple[dict[str, Any], Embedded]:
    """Return facts and what is embedded. Raises InvalidPicture, TooLarge, or one of `BROKEN` for what is damaged."""
    px = Bounds().frame_px
    picture = open_animation(data, kind, px, field)
    frames = int(getattr(picture, "n_frames", 1))
    if frames == 1:
        read_picture(data, max_px=px, field=field, kinds=STILLS)
    embedded = found_in_picture(picture)
    facts: dict[str, Any] = {"width": picture.width, "height": picture.height, "frames": frames}
    if frames > 1:
        facts |= _timing(picture, frames)
    facts |= {"mode": picture.mode, "bit_depth": _depth(data, kind, picture)}
    return facts | _colours(picture, kind), embedded


def _timing(picture: PillowImage.Image, frames: int) -> dict[str, Any]:
    """Return every frame's duration in ms, how often they are played (0: for ever), and the average rate."""
    durations = []
    for place in range(int(getattr(picture, "default_image", False)), frames):
        picture.seek(place)
        picture.load()  # a WebP's duration is known once its frame is decoded
        durations.append(Fraction(picture.info.get("duration") or 0))
    total, loop = sum(durations, Fraction(0)), picture.info.get("loop")
    exact = [int(each) if each.denominator == 1 else float(each) for each in durations]
    rate = str(Fraction(1000 * len(durations)) / total) if total else None
    return {
        "frames": len(durations),
        "fps": rate,
        "duration_s": float(total / 1000),
        "durations_ms": exact,
        "loop": loop,
    }


def _depth(data: bytes, kind: str, picture: PillowImage.Image) -> int:
    if kind == "PNG":
        return data[_PNG_DEPTH_AT]
    return 1 if picture.mode == "1" else 16 if picture.mode.startswith("I;16") else 32 if picture.mode in "IF" else 8


def _colours(picture: PillowImage.Image, kind: str) -> dict[str, Any]:
    """Return what is said of the colours: sRGB, a profile, how a JPEG halved them, and how the picture is turned."""
    from PIL import JpegImagePlugin

    facts: dict[str, Any] = {}
    if "srgb" in picture.info:
        facts["colours"] = "sRGB"
    if profile := picture.info.get("icc_profile"):
        facts["icc_profile_bytes"] = len(profile)
    if kind == "JPEG":
        facts["subsampling"] = _SUBSAMPLING.get(JpegImagePlugin.get_sampling(picture), "other")
    if (turned := picture.getexif().get(_ORIENTATION, 1)) != 1:
        facts["exif_orientation"] = int(turned)
    return facts
