"""Where pixels went: dense flow, the camera's or the head's own part of it taken off, and what is left.

Flow is DIS (Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016), on frames smoothed by 1 px so that
grain is not followed. Fields are sampled every 4 px: ``(h, w, 2)`` in px of the working size.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deployments.metrics.scale import Grey, Plane

STEP_PX = 4
_ROUNDS = 6


class Tracker:
    """Follows pixels between grey frames of one size. ``careful`` takes five times as long and misses less."""

    def __init__(self, careful: bool) -> None:
        preset = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM if careful else cv2.DISOPTICAL_FLOW_PRESET_FAST
        opencv: Any = cv2  # its stubs lack this one
        self._dis = opencv.DISOpticalFlow_create(preset)

    def flow(self, before: Grey, after: Grey) -> Plane:
        """Return (H, W, 2) px: what is at x in ``before`` is at x + flow in ``after``."""
        return np.asarray(self._dis.calc(before, after, None))


def smooth(grey: Grey) -> Grey:
    """Return the frame as the tracker likes it."""
    return np.asarray(cv2.GaussianBlur(grey, (5, 5), 1.0))


def pulled_back(after: Plane, flow: Plane, grid: Plane) -> Plane:
    """Return ``after`` seen from ``before``: every pixel fetched from where ``flow`` says it went."""
    return np.asarray(cv2.remap(after, grid + flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def grid_of(height: int, width: int) -> Plane:
    """Return (H, W, 2): every pixel's own (x, y)."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def sampled(field: Plane) -> Plane:
    """Return a field or a map at every fourth pixel of both axes."""
    return np.ascontiguousarray(field[STEP_PX // 2 :: STEP_PX, STEP_PX // 2 :: STEP_PX])


def rigid_part(field: Plane, weight: Plane) -> tuple[Plane, Plane]:
    """Return (the affine field nearest to ``field``, its matrix (3, 2) for (x, y, 1) in samples).

    Weighted least squares, reweighted six times by Cauchy's function, so that what moves by itself is not averaged in.
    """
    height, width = field.shape[:2]
    y, x = np.mgrid[:height, :width]
    points = np.stack([x.ravel(), y.ravel(), np.ones(height * width)], axis=1).astype(np.float64)
    goals = field.reshape(-1, 2).astype(np.float64)
    start = weight.ravel().astype(np.float64) + 1e-6
    now, matrix = start, np.zeros((3, 2), np.float64)
    for _ in range(_ROUNDS):
        normal = points.T @ (points * now[:, None]) + 1e-6 * np.eye(3)
        matrix[:] = np.linalg.solve(normal, points.T @ (goals * now[:, None]))
        error = ((goals - points @ matrix) ** 2).sum(axis=1)
        scale = max(0.05, float(np.average(error, weights=now)))
        now = start / (1 + error / scale)
    return (points @ matrix).reshape(field.shape).astype(np.float32), matrix.astype(np.float32)


def likeness(first: Plane, second: Plane, window: int = 9, floor: float = 20.0) -> Plane:
    """Return the local ZNCC, -1..1, of two planes of levels over ``window`` px.

    ``floor`` levels squared are added to both variances and the covariance: what is flat counts as alike, not as noise.
    """
    size = (window, window)
    mean_a, mean_b = cv2.blur(first, size), cv2.blur(second, size)
    var_a = cv2.blur(first * first, size) - mean_a * mean_a
    var_b = cv2.blur(second * second, size) - mean_b * mean_b
    cov = cv2.blur(first * second, size) - mean_a * mean_b
    return np.asarray((cov + floor) / np.sqrt((np.maximum(var_a, 0) + floor) * (np.maximum(var_b, 0) + floor)))


def straying(forth: Plane, back: Plane, grid: Plane) -> npt.NDArray[np.bool_]:
    """Return where following there and back again ends more than 1.5 px from the start."""
    there = cv2.remap(back, grid + forth, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.linalg.norm(forth + there, axis=-1) > 1.5)
