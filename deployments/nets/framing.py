"""Between the size and length that were asked for and those that a generator can make."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from serve_app.core.media import Audio, Image, Pixels, Samples, VideoShape, edge_pad
from serve_app.core.resize import cover_resize


def first_frame(picture: Image, asked: VideoShape, native: VideoShape) -> Pixels:
    """Return `picture` as uint8 RGB `(native.height, native.width, 3)` whose centre is exactly the frame asked for.

    It is cut to the asked proportions around its centre and resampled (antialiased), never stretched; then its edge
    rows and columns are repeated, so that cropping the result to `asked` restores the framing.
    """
    return edge_pad(cover_resize(picture.pixels, asked.height, asked.width), native.height, native.width)


def fit_sound(samples: Samples, rate: int, frames: int, fps: Fraction) -> Audio:
    """Return `(channels, n)` at `rate` Hz, trimmed or filled with silence to the length of `frames` at `fps` Hz.

    Values are brought into -1..1.
    """
    length = round(frames / fps * rate)
    fitted = np.zeros((samples.shape[0], length), np.float32)
    count = min(length, samples.shape[1])
    fitted[:, :count] = np.clip(samples[:, :count], -1, 1)
    return Audio(fitted, rate)
