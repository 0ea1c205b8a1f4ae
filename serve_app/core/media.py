"""Pictures, clips and their geometry: what flows between stages. Arrays are numpy uint8 RGB, never tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from serve_app.core.errors import InvalidInput
from serve_app.core.origin import Origin

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Image:
    """A still: ``pixels`` uint8 RGB ``(H, W, 3)``. May be read-only; copy before writing.

    ``model`` says what made it and follows it into its file, as with a clip; empty for an upload. So does ``origin``,
    which a host fills in: a stage that works on another's picture returns it by `dataclasses.replace`, and keeps both.
    """

    pixels: Pixels
    model: str = ""
    origin: Origin = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"an image is uint8 (H, W, 3), not {self.pixels.dtype} {self.pixels.shape}")

    @property
    def height(self) -> int:
        """Rows, in px."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns, in px."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True)
class Audio:
    """Sound: ``samples`` float32 ``(channels, n)`` in -1..1 at ``rate`` Hz."""

    samples: Samples
    rate: int

    def __post_init__(self) -> None:
        if self.samples.dtype != np.float32 or self.samples.ndim != 2 or self.rate <= 0:
            raise ValueError(f"audio is float32 (channels, n), not {self.samples.dtype} {self.samples.shape}")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1]) / self.rate


@dataclass(frozen=True)
class Clip:
    """Frames in time: ``frames`` uint8 RGB ``(T, H, W, 3)`` at ``fps`` Hz (exact), perhaps with ``audio``.

    ``model`` says what made it (``animatic``, a hub id, a directory's name) and follows the clip into its file.
    So does ``origin``, which a host fills in: a stage that works on another's clip returns it by `dataclasses.replace`.
    Frames may be read-only (a view into a shared store); copy before writing.
    """

    frames: Pixels
    fps: Fraction
    model: str
    audio: Audio | None = None
    origin: Origin = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3:
            raise ValueError(f"a clip is uint8 (T, H, W, 3), not {self.frames.dtype} {self.frames.shape}")
        if self.fps <= 0:
            raise ValueError(f"fps is above 0, not {self.fps}")

    @property
    def shape(self) -> VideoShape:
        """Count and size of the frames."""
        count, height, width, _ = self.frames.shape
        return VideoShape(frames=int(count), height=int(height), width=int(width))

    @property
    def duration_s(self) -> float:
        """Length in seconds: every frame is shown for 1/fps."""
        return float(self.frames.shape[0] / self.fps)


@dataclass(frozen=True)
class VideoShape:
    """``frames`` x ``height`` x ``width``, in frames and px."""

    frames: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"


@dataclass(frozen=True)
class Grid:
    """What a model can make: sizes are multiples of ``spatial`` px, counts are ``temporal * k + 1`` frames."""

    spatial: int
    temporal: int

    def cover(self, shape: VideoShape) -> VideoShape:
        """Return the smallest legal size that contains ``shape``; its frame count must be legal already.

        Raises InvalidInput naming ``frames`` with the two nearest legal counts.
        """
        self.check_frames(shape.frames)
        return VideoShape(frames=shape.frames, height=self._cover(shape.height), width=self._cover(shape.width))

    def _cover(self, length: int) -> int:
        return -(-length // self.spatial) * self.spatial

    def check_frames(self, frames: int) -> None:
        """Raise InvalidInput naming ``frames`` unless it is ``temporal * k + 1``."""
        if frames < 1 or (frames - 1) % self.temporal:
            below = max(0, (frames - 1) // self.temporal) * self.temporal + 1
            reason = f"{frames} is not {self.temporal}k+1; the nearest are {below} and {below + self.temporal}"
            raise InvalidInput("frames", reason)


def exact_fps(value: float | str | Fraction) -> Fraction:
    """Return ``value`` Hz as the fraction it stands for: 29.97 is 30000/1001, 23.976 is 24000/1001, 12.5 is 25/2.

    Raises InvalidInput naming ``fps`` unless it is above 0 and at most 240.
    """
    try:
        rate = Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise InvalidInput("fps", f"{value!r} is not a rate") from error
    if not 0 < rate <= 240:
        raise InvalidInput("fps", f"{value} is not above 0 and at most 240")
    for nominal in (24, 30, 48, 60, 120):
        ntsc = Fraction(nominal * 1000, 1001)
        if abs(rate - ntsc) < Fraction(1, 200) and rate.denominator != 1:
            return ntsc
    exact = rate.limit_denominator(1001)
    if not exact:
        raise InvalidInput("fps", f"{value} is less than 1/1001")
    return exact


def edge_pad(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return ``(..., H, W, 3)`` grown to ``height`` x ``width`` by repeating edge rows and columns, centred."""
    rows, columns = height - pixels.shape[-3], width - pixels.shape[-2]
    if rows < 0 or columns < 0:
        raise ValueError(f"cannot pad {pixels.shape[-2]}x{pixels.shape[-3]} to {width}x{height}")
    margin = [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)]
    return np.pad(pixels, [(0, 0)] * (pixels.ndim - 3) + margin, mode="edge")


def centre_crop(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return the centre ``height`` x ``width`` of ``(..., H, W, 3)`` as a view; undoes ``edge_pad`` exactly."""
    rows, columns = pixels.shape[-3] - height, pixels.shape[-2] - width
    if rows < 0 or columns < 0:
        raise ValueError(f"cannot crop {pixels.shape[-2]}x{pixels.shape[-3]} to {width}x{height}")
    top, left = rows // 2, columns // 2
    return pixels[..., top : top + height, left : left + width, :]
