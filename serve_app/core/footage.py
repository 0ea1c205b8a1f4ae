"""From a video file, or an animated picture, to a `Clip`: whole, upright, RGB, and never larger than was allowed."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from serve_app.core.errors import InvalidClip, InvalidPicture, TooLarge
from serve_app.core.filetype import AVI, GIF, HEAD_BYTES, ISO_MEDIA, MATROSKA, FileType, type_of
from serve_app.core.media import Clip, Pixels, exact_fps
from serve_app.core.picture import BROKEN, flattened, open_animation

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_GIB = 1 << 30
_HD_ROWS = 720
_UNTAGGED = 2
"""AVCOL_SPC_UNSPECIFIED: the stream does not say what its colours mean."""
_PADDING_PX = 1 << 16
_UNHURRIED_MS = 100.0
"""How long browsers show a frame of 10 ms or less, or of no duration."""


@dataclass(frozen=True)
class Bounds:
    """What may be decoded: px of one frame, bytes of all frames together (3 per px), and how many frames those are."""

    frame_px: int = 40_000_000
    clip_bytes: int = 2 * _GIB
    frames: int = 20_000


def read_clip(data: bytes, bounds: Bounds, field: str = "clip") -> Clip:
    """Return the video in ``data`` as frames ``(T, H, W, 3)`` uint8 RGB, turned upright, without its sound.

    MP4, MOV, Matroska, WebM, AVI, MPEG, Ogg, FLV, ASF and Y4M through FFmpeg; GIF, WebP and PNG animations through
    Pillow. The first bytes choose the reader, never a name, and no reader is left to guess: FFmpeg's own guess would
    follow a playlist to other files. Colours follow the stream's tags (untagged: BT.709 from 720 rows on, else BT.601);
    more than 8 bits become 8; HDR is not tone-mapped; transparency is laid over white. ``fps`` is the average rate, and
    ``model`` the container's name.

    A file that ends too early is told by what its header announces. MPEG streams, ASF and Y4M announce nothing, and are
    as long as what is there of them. Damage within is noticed when the decoder does.

    Raises TooLarge beyond ``bounds``, as soon as that is known, and InvalidClip for what is damaged, ends too early or
    is no video; both name ``field``.
    """
    kind = _kind_of(data, field)
    with _translated(kind, field):
        _check_whole(data, kind)
        return _film(data, kind, bounds, field) if kind.demuxer else _animation(data, kind, bounds, field)


def check_clip(data: bytes, bounds: Bounds, field: str = "clip") -> FileType:
    """Return what ``data`` is, by its header alone: no frame is decoded. Raises as `read_clip` does, of what it sees.

    For whoever takes a file in and leaves its frames to another.
    """
    kind = _kind_of(data, field)
    with _translated(kind, field):
        _check_whole(data, kind)
        if kind.demuxer:
            with _opened(data, kind, bounds, field):
                return kind
        open_animation(data, kind.name, bounds.frame_px, field)
        return kind


def _kind_of(data: bytes, field: str) -> FileType:
    kind = type_of(data[:HEAD_BYTES])
    if kind is None or not (kind.demuxer or kind.is_animated):
        raise InvalidClip(field, f"this is {_said(data, kind)}")
    return kind


@contextmanager
def _translated(kind: FileType, field: str) -> Iterator[None]:
    """Raise InvalidClip for what readers raise on damaged bytes."""
    from av.error import FFmpegError

    try:
        yield
    except InvalidPicture as error:
        raise InvalidClip(field, error.reason) from error
    except (FFmpegError, *BROKEN) as error:
        raise InvalidClip(field, f"the {kind.name} is truncated or damaged: {_words(error)}") from error


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]


def _said(data: bytes, kind: FileType | None) -> str:
    if not data:
        return "an empty file"
    return "no video or animation that we know" if kind is None else f"a {kind.name} picture, not a video"


def _check_whole(data: bytes, kind: FileType) -> None:
    """Raise ValueError when the outermost box announces more bytes than came; FFmpeg would play what is there."""
    announced = len(data)
    if kind is AVI:
        announced = int.from_bytes(data[4:8], "little") + 8
    elif kind is MATROSKA:
        header_end = _element_end(data, 0) or 0
        announced = _element_end(data, header_end) or len(data)
    elif kind is ISO_MEDIA:
        announced = _boxes_end(data)
    elif kind is GIF and not data.rstrip(b"\0").endswith(b";"):
        raise ValueError("its end is missing")
    if announced > len(data):
        raise ValueError(f"{announced} bytes were announced and {len(data)} came")


def _boxes_end(data: bytes) -> int:
    """Return where the last of the outermost boxes (ISO/IEC 14496-12) ends."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # to the end of the file, whatever that is
            return len(data)
        if size < 8:
            raise ValueError(f"the box at byte {at} has {size} bytes")
        at += size
    return at


def _element_end(data: bytes, at: int) -> int | None:
    """Return where the EBML element (RFC 8794) at ``at`` ends; None for one of unknown length, as live streams are."""
    size_at = at + _length(data, at)
    start = size_at + _length(data, size_at)
    bits = 7 * (start - size_at)
    size = int.from_bytes(data[size_at:start], "big") & ((1 << bits) - 1)
    return None if size == (1 << bits) - 1 else start + size


def _length(data: bytes, at: int) -> int:
    if at >= len(data) or not data[at]:
        raise ValueError("its header is cut short")
    return 9 - data[at].bit_length()


def _check_frame(height: int, width: int, bounds: Bounds, field: str) -> None:
    if height * width > bounds.frame_px:
        raise TooLarge(field, f"a frame is {width}x{height}, {height * width} px; the limit is {bounds.frame_px} px")


class _Reel:
    """Frames of one size, as they are decoded. Memory is taken by frames that came, not by those announced."""

    def __init__(self, height: int, width: int, bounds: Bounds, field: str) -> None:
        px = height * width
        _check_frame(height, width, bounds, field)
        self._limit = f"the limit is {bounds.clip_bytes} bytes of decoded frames"
        if 3 * px > bounds.clip_bytes:
            raise TooLarge(field, f"one frame of {width}x{height} takes {3 * px} bytes; {self._limit}")
        most = bounds.clip_bytes // (3 * px)
        if most > bounds.frames:
            most, self._limit = bounds.frames, f"the limit is {bounds.frames} frames"
        self._frames = np.empty((most, height, width, 3), np.uint8)
        self._count, self._field = 0, field

    def add(self, pixels: Pixels) -> None:
        height, width = self._frames.shape[1:3]
        if pixels.shape[:2] != (height, width):
            is_now = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise ValueError(f"frame {self._count} is {is_now}, and the first is {width}x{height}")
        if self._count == len(self._frames):
            raise TooLarge(self._field, f"it holds more than {self._count} frames of {width}x{height}; {self._limit}")
        self._frames[self._count] = pixels
        self._count += 1

    def clip(self, fps: Fraction, model: str) -> Clip:
        return Clip(self._frames[: self._count], fps, model)


@contextmanager
def _opened(data: bytes, kind: FileType, bounds: Bounds, field: str) -> Iterator[Any]:
    """Open the container; raise InvalidClip without video in it, TooLarge before a decoder takes memory."""
    import av

    with av.open(io.BytesIO(data), format=kind.demuxer) as container:
        if not container.streams.video:
            raise InvalidClip(field, f"the {kind.name} holds no video")
        codec = container.streams.video[0].codec_context
        _check_frame(codec.height, codec.width, bounds, field)
        yield container


def _film(data: bytes, kind: FileType, bounds: Bounds, field: str) -> Clip:
    from av.video.reformatter import VideoReformatter

    with _opened(data, kind, bounds, field) as container:
        stream, reel = container.streams.video[0], None
        stream.thread_type = "AUTO"
        # FFmpeg counts its padding of rows and columns, so its own limit is a loose one; ours follows the decoding.
        stream.codec_context.options = {"max_pixels": str(2 * bounds.frame_px + _PADDING_PX)}
        reformatter = VideoReformatter()
        for frame in _decoded(container, stream):
            _check_frame(frame.height, frame.width, bounds, field)
            pixels = _rgb(frame, reformatter)
            reel = reel or _Reel(pixels.shape[0], pixels.shape[1], bounds, field)
            reel.add(pixels)
        if reel is None:
            raise ValueError("no frame of it can be decoded")
        return reel.clip(_rate(stream), kind.name)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield every frame. Raises ValueError where a part did not come: FFmpeg would paint over it."""
    packets = 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        if packet.is_corrupt:
            raise ValueError(f"packet {packets} is cut short")
        for frame in packet.decode():
            if frame.is_corrupt:
                raise ValueError("a frame of it cannot be decoded whole")
            yield frame
    if packets < stream.frames:
        raise ValueError(f"{stream.frames} frames were announced and {packets} came")


def _rgb(frame: Any, reformatter: Any) -> Pixels:
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    guess = Colorspace.ITU709 if frame.height >= _HD_ROWS else Colorspace.ITU601
    has_alpha = any(component.is_alpha for component in frame.format.components)
    shown = reformatter.reformat(
        frame,
        format="rgba" if has_alpha else "rgb24",
        src_colorspace=guess if frame.colorspace == _UNTAGGED and not frame.format.is_rgb else None,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        threads=1,
    )
    pixels: Pixels = shown.to_ndarray()
    if has_alpha:
        share = pixels[..., 3:].astype(np.uint16)
        pixels = ((pixels[..., :3] * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)
    return np.rot90(pixels, frame.rotation // 90) if frame.rotation % 360 else pixels


def _rate(stream: Any) -> Fraction:
    """Return the average rate; where the file's makes no sense, what FFmpeg guesses, and 24 at last."""
    rates = (stream.average_rate, stream.guessed_rate)
    return next((exact_fps(Fraction(rate)) for rate in rates if rate and 0 < rate <= 240), Fraction(24))


def _animation(data: bytes, kind: FileType, bounds: Bounds, field: str) -> Clip:
    picture = open_animation(data, kind.name, bounds.frame_px, field)
    reel, count, total_ms = _Reel(picture.height, picture.width, bounds, field), 0, 0.0
    for _ in _sought(picture, kind):
        _check_frame(picture.height, picture.width, bounds, field)  # a GIF's canvas grows with a frame beyond it
        reel.add(np.asarray(flattened(picture)))
        shown_ms = float(picture.info.get("duration") or 0)  # WebP's is known once its frame is decoded
        total_ms += shown_ms if shown_ms > 10 else _UNHURRIED_MS
        count += 1
    return reel.clip(exact_fps(Fraction(1000 * count) / Fraction(total_ms)), kind.name)


def _sought(picture: PillowImage.Image, kind: FileType) -> Iterator[int]:
    """Seek every frame and yield its place. A GIF does not announce how many it has, and counting walks all of it."""
    if kind is not GIF:
        for place in range(int(getattr(picture, "default_image", False)), getattr(picture, "n_frames", 1)):
            picture.seek(place)
            yield place
        return
    yield 0
    for place in itertools.count(1):
        try:
            picture.seek(place)
        except EOFError:
            return
        yield place


def is_animation(data: bytes, kind: FileType) -> bool:
    """Return whether a PNG, WebP or GIF holds more than one frame, which make a clip. Not so for one that is damaged.

    No frame is decoded, and no more of them are looked at than two.
    """
    if not kind.is_animated:
        return False
    try:
        return bool(getattr(open_animation(data, kind.name, Bounds().frame_px, "file"), "is_animated", False))
    except (InvalidPicture, TooLarge, *BROKEN):
        return False
