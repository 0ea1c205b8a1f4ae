"""Clips as stages get them: out of a shared store, so that nobody may write into their frames."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from serve_app.core.media import Audio, Clip, Pixels


def clip_of(frames: Pixels) -> Clip:
    """Return a clip with sound whose frames are read-only, as frames out of a shared store are."""
    frames.flags.writeable = False
    audio = Audio(np.zeros((2, 480), np.float32), rate=48_000)
    return Clip(frames, Fraction(24_000, 1001), "a-model", audio)
