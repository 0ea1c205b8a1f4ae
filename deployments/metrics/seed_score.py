"""The classic score and the classic difference, as teams use them today. Reported for comparison; they decide nothing.

Both mislead: the score has a floor of 50 (a black frame has it too) and takes noise for sharpness; the difference
grows with every legitimate camera move and hardly with a face that melts in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from serve_app.core.media import Pixels

SHARPNESS = (50.0, 100.0, 200.0, 500.0)
"""Edges of the bands of the variance of the Laplacian, in levels squared."""
CLIP_SHARPNESS = (1.0, 3.0, 8.0, 16.0)
"""The same bands for LoG1c at 640x360, which is what a clip's frames are ranked by."""


def seed_score(sharpness: float, brightness: float, contrast: float, edges: Sequence[float] = SHARPNESS) -> float:
    """Return 50..100: 50, and up to 25 for sharpness, 15 for brightness, 10 for contrast.

    ``sharpness``: variance of the 3x3 Laplacian, levels squared, against the four ``edges``; ``brightness`` and
    ``contrast``: mean and deviation of luma, 8-bit levels. Every comparison is strict: a value on an edge falls below.
    """
    low, fair, good, best = edges
    bands = ((best, 25.0), (good, 20.0), (fair, 15.0), (low, 10.0))
    points = 50.0 + next((gain for edge, gain in bands if sharpness > edge), 0.0)
    spans = ((80, 180, 15.0), (60, 200, 10.0), (40, 220, 5.0))
    points += next((gain for low_b, high_b, gain in spans if low_b < brightness < high_b), 0.0)
    points += next((gain for edge, gain in ((60, 10.0), (40, 7.0), (25, 3.0)) if contrast > edge), 0.0)
    return min(100.0, points)


def pixel_diff(frame: Pixels, photo: Pixels) -> float:
    """Return the mean absolute difference of two frames ``(H, W, 3)`` over height, width and RGB, in 8-bit levels."""
    return float(cv2.norm(np.ascontiguousarray(frame), photo, cv2.NORM_L1)) / photo.size


def checkpoints_of(count: int, many: int = 5) -> list[int]:
    """Return the frames at the quarters of a clip of ``count``: 97 -> 0, 24, 48, 72, 96. No frame twice."""
    return list(dict.fromkeys(min(count - 1, count * i // (many - 1)) for i in range(many)))


def classic_label(difference: float) -> str:
    """Return OK below 20 levels, WARN below 30, else FAIL."""
    return "OK" if difference < 20 else "WARN" if difference < 30 else "FAIL"
