"""Between the picture that was asked for and the one that a generator can make: its size, its start, its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deployments.nets.framing import first_frame
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Grid, Image, Pixels, VideoShape, centre_crop

if TYPE_CHECKING:
    import PIL.Image

_GRID = Grid(spatial=16, temporal=1)
"""Autoencoders that fold 8 px into a latent, and transformers that take two by two of them."""


@dataclass(frozen=True)
class Size:
    """What was asked for, and the smallest legal size that contains it."""

    asked: VideoShape
    native: VideoShape

    @classmethod
    def of(cls, width: int, height: int) -> Size:
        """Return the size of `width` x `height` px; its native one is a multiple of 16 px both ways."""
        asked = VideoShape(frames=1, height=height, width=width)
        return cls(asked=asked, native=_GRID.cover(asked))

    def crop(self, pixels: Pixels) -> Pixels:
        """Return the centre of a native `(H, W, 3)` that was asked for, as an array of its own."""
        return np.ascontiguousarray(centre_crop(pixels, self.asked.height, self.asked.width))

    def start(self, image: Image) -> PIL.Image.Image:
        """Return `image` at the native size, cut to the asked proportions and never stretched, edges repeated."""
        import PIL.Image

        return PIL.Image.fromarray(first_frame(image, self.asked, self.native))


def describe(shape: VideoShape) -> str:
    """Return `WIDTHxHEIGHT`."""
    return f"{shape.width}x{shape.height}"


def steps_of(steps: int, strength: float | None) -> int:
    """Return how many of `steps` a start from a picture at `strength` leaves: the arithmetic of diffusers' pipelines.

    Raises InvalidInput naming `strength` where it is rounded up to 1, which would ignore the picture.
    """
    if strength is None:
        return steps
    left = steps - int(max(steps - min(steps * strength, steps), 0))
    if left == steps:
        reason = f"{strength:g} of {steps} steps is rounded up to all of them, which ignores the image"
        raise InvalidInput("strength", reason)
    return left
