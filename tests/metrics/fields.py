"""How pixels move in a labelled clip: fields of displacement, in px, and how they grow with time.

Each set moves by its own laws, so that nothing is tested on the motion it was set on: `train` follows sines and round
Gaussian bumps, `validation` smooth steps and polynomial bumps, `test` minimum-jerk paths with a trembling hand and
elliptical cosine windows.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from tests.metrics.pictures import HEIGHT, WIDTH, Box, Plane

Split = Literal["train", "validation", "test"]
Curve = npt.NDArray[np.float64]

Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)


def rise(split: Split, count: int) -> Curve:
    """Return how far a motion has come at each of ``count`` frames: 0 at the first, 1 at the last."""
    t = np.linspace(0, 1, count)
    if split == "train":
        return np.sin(t * np.pi / 2)
    if split == "validation":
        return t * t * (3 - 2 * t)
    return t**3 * (10 - 15 * t + 6 * t * t)


def sway(split: Split, count: int, rng: np.random.Generator) -> Curve:
    """Return a motion that leaves 0 and comes back about once, at most 1 in size."""
    t = np.linspace(0, 1, count)
    cycles, phase = rng.uniform(0.5, 1.4), rng.uniform(0.8, 1.2)
    if split == "train":
        return np.sin(np.pi * cycles * t * phase) ** 2
    if split == "validation":
        return 1 - np.abs(1 - 2 * np.clip(t * phase, 0, 1)) ** 3
    knots = np.concatenate([[0.0], rng.uniform(0.2, 1, 2), [rng.uniform(0, 0.3)]]).astype(np.float32)
    path = cv2.resize(knots[None], (count, 1), interpolation=cv2.INTER_CUBIC)[0] - knots[0]
    return np.asarray(np.clip(path, -1, 1) * (t > 0), np.float64)


def tremble(split: Split, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return (count, 2) px of a hand that holds the camera: nothing but in `test`."""
    if split != "test":
        return np.zeros((count, 2))
    knots = rng.normal(0, 0.7, (count // 6 + 2, 2)).astype(np.float32)
    path = cv2.resize(knots, (2, count), interpolation=cv2.INTER_CUBIC)
    return np.asarray(path - path[0], np.float64)


def bump(split: Split, centre: tuple[float, float], axes: tuple[float, float]) -> Plane:
    """Return a window 1 at ``centre`` and 0 beyond about ``axes`` px from it."""
    radius = np.hypot((X - centre[0]) / axes[0], (Y - centre[1]) / axes[1])
    if split == "train":
        return np.asarray(np.exp(-2.5 * radius**2), np.float32)
    inside = np.clip(radius, 0, 1)
    if split == "validation":
        return np.asarray((1 - inside**2) ** 2, np.float32)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * inside), np.float32)


def plateau(box: tuple[float, float, float, float]) -> Plane:
    """Return 1 over an ellipse of ``box`` (x, y, w, h in px), falling softly to 0 within half its size around."""
    x, y, w, h = box
    radius = np.hypot((X - x - w / 2) / (w / 2), (Y - y - h / 2) / (h / 2))
    t = np.clip(2 - radius, 0, 1) if min(w, h) > 1 else np.ones_like(radius)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def in_px(box: Box) -> tuple[float, float, float, float]:
    """Return a box in shares as (x, y, w, h) in px."""
    return box[0] * WIDTH, box[1] * HEIGHT, box[2] * WIDTH, box[3] * HEIGHT


def similarity(scale: float, angle: float, shift: npt.ArrayLike, centre: tuple[float, float]) -> tuple[Plane, Plane]:
    """Return the displacement (dx, dy) that scales, turns (radians) about ``centre`` and shifts (px)."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    x, y = X - centre[0], Y - centre[1]
    move = np.asarray(shift, np.float32)
    return (cos * x - sin * y - x + move[0]).astype(np.float32), (sin * x + cos * y - y + move[1]).astype(np.float32)
