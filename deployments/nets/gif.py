"""Writing GIF, each frame for itself (CompuServe, "Graphics Interchange Format", 89a, 1990): what comes in comes out.

Pillow compresses the frames. Its own writer of animations drops a frame that equals the one before it, and so loses
count of the frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import IO

import numpy as np
from PIL import GifImagePlugin
from PIL import Image as PillowImage

from serve_app.core.errors import InvalidInput
from serve_app.core.media import Pixels

TICKS_PER_S = 100
_COLOURS = 256
_CLEAR = 255
"""The index that stands for transparency, where there is any."""
_MOST_TICKS = 0xFFFF
_KEEP, _RESTORE = 1, 2
"""Disposals: the next frame is painted over this one; or this one is cleared first."""
_REPEAT_FOR_EVER = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
"""A count of 0. One of 1 means twice to most players."""


@dataclass(frozen=True)
class Palette:
    """Up to 256 colours that a whole animation shares, so that nothing flickers; with ``is_clear``, 255 and none."""

    picture: PillowImage.Image
    is_clear: bool

    @classmethod
    def of(cls, samples: Sequence[Pixels], is_clear: bool = False) -> Palette:
        """Choose the colours that suit ``samples``, frames ``(H, W, 3)`` of one width."""
        sample = np.concatenate([pixels[::2, ::2] for pixels in samples])
        colours = _COLOURS - is_clear
        picture = PillowImage.fromarray(sample).quantize(colours, method=PillowImage.Quantize.MEDIANCUT)
        return cls(picture, is_clear)

    @property
    def table(self) -> bytes:
        """256 entries of 3 bytes."""
        return bytes(self.picture.getpalette("RGB") or ()).ljust(3 * _COLOURS, b"\0")[: 3 * _COLOURS]

    def indices(self, picture: PillowImage.Image) -> Pixels:
        """Return ``picture`` (RGB, or RGBA where less than half opaque is clear) as ``(H, W)`` indices, dithered."""
        found = np.asarray(picture.convert("RGB").quantize(palette=self.picture)).copy()
        if self.is_clear and picture.mode == "RGBA":
            found[np.asarray(picture.getchannel("A")) < 128] = _CLEAR
        return found


def ticks_of(durations_s: Iterable[Fraction]) -> list[int]:
    """Return whole 1/100 s for each duration. No sum of them strays from the true time by over half a tick.

    Raises InvalidInput for a frame that is shown longer than GIF can say.
    """
    ends, time = [0], Fraction(0)
    for duration in durations_s:
        time += duration
        ends.append(round(time * TICKS_PER_S))
    ticks = [after - before for before, after in itertools.pairwise(ends)]
    if max(ticks, default=0) > _MOST_TICKS:
        raise InvalidInput("duration", f"a frame is shown for {max(ticks) / TICKS_PER_S:g} s; GIF holds 655.35")
    return ticks


def write_gif(
    file: IO[bytes], pictures: Iterable[PillowImage.Image], ticks: Sequence[int], palette: Palette, comment: str = ""
) -> None:
    """Write an animation of RGB or RGBA pictures of one size that loops for ever.

    Of an opaque one, only the part of a frame that differs from the frame before is written.
    """
    shown: Pixels | None = None
    for picture, duration in zip(pictures, ticks, strict=True):
        indices = palette.indices(picture)
        if shown is None:
            file.write(b"".join(_head(picture.size, palette.table, comment)))
        top, bottom, left, right = _changed(indices, None if palette.is_clear else shown)
        part = PillowImage.fromarray(np.ascontiguousarray(indices[top:bottom, left:right])).convert("P")
        disposal = _RESTORE if palette.is_clear else _KEEP
        clear = {"transparency": _CLEAR} if palette.is_clear else {}
        for piece in GifImagePlugin.getdata(part, (left, top), duration=10 * duration, disposal=disposal, **clear):
            file.write(piece)
        shown = indices
    file.write(b";")


def _head(size: tuple[int, int], table: bytes, comment: str) -> Iterator[bytes]:
    yield b"GIF89a" + b"".join(side.to_bytes(2, "little") for side in size)
    yield b"\xf7\0\0" + table  # a table of 256 colours of 8 bits; background 0; pixels are square
    yield _REPEAT_FOR_EVER
    if comment:
        text = comment.encode()
        yield b"!\xfe"
        yield from (bytes([len(text[at : at + 255])]) + text[at : at + 255] for at in range(0, len(text), 255))
        yield b"\0"


def _changed(indices: Pixels, before: Pixels | None) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of what differs; one px where nothing does."""
    height, width = indices.shape
    if before is None:
        return 0, height, 0, width
    rows, columns = ((indices != before).any(axis=axis).nonzero()[0] for axis in (1, 0))
    if not len(rows):
        return 0, 1, 0, 1
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
