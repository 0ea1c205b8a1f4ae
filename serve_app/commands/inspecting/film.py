"""What a video is: its streams as the container announces them, held against the packets that are there."""

from __future__ import annotations

import io
from enum import IntEnum
from fractions import Fraction
from typing import Any

from serve_app.commands.inspecting.embedded import Embedded, found_in_film

_LIMITED, _FULL = 1, 2


def look_into_film(data: bytes, demuxer: str, is_decoding: bool) -> tuple[dict[str, Any], Embedded]:
    """Return facts of the first video stream and the first sound, and what is embedded.

    Every packet is counted; the first frame is decoded, or with ``is_decoding`` all of them. Raises FFmpegError or
    ValueError for what is damaged.
    """
    import av

    with av.open(io.BytesIO(data), format=demuxer) as container:
        stream = container.streams.video[0]
        shown = _decoded(container, stream, is_decoding)
        facts = {**_picture(stream, shown), "audio": _sound(container)}
        if container.bit_rate:
            facts["bits_per_s"] = container.bit_rate
        return facts, found_in_film(container.metadata)


def _decoded(container: Any, stream: Any, is_decoding: bool) -> int:
    """Return how many frames are there. Raises ValueError where a part of one is not."""
    packets = 0
    is_seen = False
    for packet in container.demux(stream):
        packets += packet.size > 0
        if packet.is_corrupt:
            raise ValueError(f"packet {packets} is cut short")
        if is_decoding or not is_seen:
            for frame in packet.decode():
                is_seen = True
                if frame.is_corrupt:
                    raise ValueError("a frame of it cannot be decoded whole")
    if not is_seen:
        raise ValueError("no frame of it can be decoded")
    if packets < stream.frames:
        raise ValueError(f"{stream.frames} frames were announced and {packets} came")
    return packets


def _picture(stream: Any, frames: int) -> dict[str, Any]:
    codec, rate = stream.codec_context, stream.average_rate or stream.guessed_rate
    facts = {"width": codec.width, "height": codec.height, "frames": frames, "fps": str(rate) if rate else None}
    facts |= {"duration_s": _duration_s(stream, Fraction(frames) / rate if rate else None)}
    tag = "".join(letter for letter in codec.codec_tag if letter.isprintable())
    facts |= {"codec": codec.name, "codec_tag": tag, "profile": codec.profile, "pixel_format": codec.pix_fmt}
    depths = {component.bits for component in codec.format.components} if codec.format else set()
    return facts | {"bit_depth": max(depths, default=None), "colours": _colours(codec)}


def _duration_s(stream: Any, otherwise: Fraction | None) -> float | None:
    duration = stream.duration * stream.time_base if stream.duration else otherwise
    return None if duration is None else round(float(duration), 6)


def _colours(codec: Any) -> dict[str, str]:
    """Return the stream's colour tags by the names of ITU-T H.273, as FFmpeg abbreviates them."""
    from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

    ranges = {_LIMITED: "limited", _FULL: "full"}
    return {
        "primaries": _named(ColorPrimaries, codec.color_primaries),
        "transfer": _named(ColorTrc, codec.color_trc),
        "matrix": _named(Colorspace, codec.colorspace),
        "range": ranges.get(int(codec.color_range), "untagged"),
    }


def _named(kinds: type[IntEnum], value: int) -> str:
    if value == 2:  # H.273's "unspecified", in all three tables
        return "untagged"
    found = next((kind.name for kind in kinds if kind.value == value), str(value))
    return found.removeprefix("ITU") if found.startswith("ITU") else found


def _sound(container: Any) -> dict[str, Any] | None:
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    codec = stream.codec_context
    facts: dict[str, Any] = {"codec": codec.name, "rate_hz": codec.sample_rate, "channels": codec.channels}
    return facts | {"duration_s": _duration_s(stream, None)}
