"""Where to look: the face that the caller pointed at, or every window of the frame and then the worst."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deployments.metrics.flow import STEP_PX
from deployments.metrics.scale import Plane

Box = tuple[float, float, float, float]
_LEAST = 0.15
"""A window with less structure than this share of the frame's mean has nothing that could be followed."""


@dataclass(frozen=True)
class Region:
    """``mask`` (h, w) 0..1 on the sampled grid; ``size_px``: what lengths are a share of; None as mask: all windows."""

    mask: Plane | None
    size_px: float

    def worst(self, values: Plane, weight: Plane) -> float:
        """Return the weighted mean of ``values`` (h, w) over the face; or the largest over windows (98th
        percentile)."""
        if self.mask is not None:
            total = float((weight * self.mask).sum())
            return float((values * weight * self.mask).sum()) / total if total > 1e-6 else 0.0
        means, seen = windowed(values, weight, self.size_px / STEP_PX)
        return float(np.percentile(means[seen], 98)) if seen.any() else 0.0


def window_in(shape: tuple[int, ...], side: float) -> tuple[int, int]:
    """Return the (width, height) of a square window of ``side`` samples, cut to a plane of ``shape`` (h, w)."""
    return min(shape[1], max(1, round(side))), min(shape[0], max(1, round(side)))


def windowed(values: Plane, weight: Plane, side: float) -> tuple[Plane, Plane]:
    """Return (the weighted mean of ``values`` in the window about every sample, whether it holds enough structure)."""
    size = window_in(weight.shape, side)
    total = cv2.blur(weight, size, borderType=cv2.BORDER_CONSTANT)
    means = cv2.blur(values * weight, size, borderType=cv2.BORDER_CONSTANT) / np.maximum(total, 1e-9)
    return np.asarray(means), np.asarray(total > _LEAST * float(weight.mean()))


def region_for(size: tuple[int, int], box: Box | None) -> Region:
    """Return the region of a frame of ``size`` (height, width): the ellipse in ``box`` (x, y, w, h in 0..1), or
    windows.

    Windows are a third of the frame's short side.
    """
    height, width = size
    if box is None:
        return Region(None, min(height, width) / 3)
    x, y, w, h = box
    rows = np.arange(STEP_PX // 2, height, STEP_PX, dtype=np.float32)[:, None] / height
    columns = np.arange(STEP_PX // 2, width, STEP_PX, dtype=np.float32)[None] / width
    radius = np.hypot((columns - x - w / 2) / (w / 2), (rows - y - h / 2) / (h / 2))
    mask = np.clip((1.1 - radius) / 0.1, 0, 1).astype(np.float32)
    return Region(mask, h * height) if mask.sum() >= 12 else Region(None, min(height, width) / 3)
