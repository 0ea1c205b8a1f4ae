"""From frame to frame: does what is seen move on smoothly, or does it cut, stutter and wobble?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from deployments.metrics.flow import STEP_PX, Tracker, grid_of, likeness, pulled_back, rigid_part, sampled, smooth
from deployments.metrics.region import windowed
from deployments.metrics.scale import Grey, Plane
from deployments.metrics.still import structure

Curve = npt.NDArray[np.float64]
_SWING_HZ = 1.0
_SMOOTH = (7, 7)
_STILL_PX = 1.0
"""Motion of less than this per frame is too small to stutter."""


@dataclass(frozen=True)
class Passage:
    """What happened between neighbours; index i is the step from frame i to i+1.

    ``breaks`` (T-1,): 1 - ZNCC that following the pixels leaves, in the worst window. ``jerk`` (T-2,): change of
    velocity as a share of velocity, about 0 where motion is even, 1.7 where frames are in random order. ``wobble``: RMS
    change per frame of the velocity that no camera move explains, beyond that of a swing of 1 Hz, in the worst window,
    px per frame squared.
    """

    breaks: Curve
    jerk: Curve
    wobble: float

    @property
    def cut(self) -> tuple[float, int]:
        """How far the worst break stands out of the median one, and the frame that it shows first."""
        if not self.breaks.size:
            return 0.0, 0
        worst = int(self.breaks.argmax())
        return float(self.breaks[worst] - np.median(self.breaks)), worst + 1

    @property
    def stutter(self) -> tuple[float, int]:
        """The median jerk, and the frame of the greatest."""
        return (float(np.median(self.jerk)), int(self.jerk.argmax()) + 1) if self.jerk.size else (0.0, 0)


def passage_of(greys: list[Grey], window_px: float, fps: float) -> Passage:
    """Follow the pixels of all frames of one size from each to the next."""
    tracker, size = Tracker(careful=False), greys[0].shape
    grid, side = grid_of(*size), window_px / STEP_PX
    breaks: list[float] = []
    moves: list[Plane] = []
    apart: list[Plane] = []
    before = smooth(greys[0])
    weight = sampled(_weight(before))
    for grey in greys[1:]:
        after = smooth(grey)
        flow = tracker.flow(before, after)
        breaks.append(_broken(before, after, flow, grid, side))
        moves.append(sampled(flow))
        rigid, _ = rigid_part(moves[-1], weight)
        solid = cv2.blur(weight, _SMOOTH)[..., None] + 1e-3
        apart.append(cv2.blur((moves[-1] - rigid) * weight[..., None], _SMOOTH) / solid)
        before = after
        weight = sampled(_weight(before))
    return Passage(np.array(breaks), _jerk(moves), _wobble(apart, weight, side, fps))


def _weight(grey: Grey) -> Plane:
    energy = structure(grey.astype(np.float32))
    return np.asarray(energy / (energy + 10.0))


def _broken(before: Grey, after: Grey, flow: Plane, grid: Plane, side: float) -> float:
    first = before.astype(np.float32)
    loss = 1 - likeness(first, pulled_back(after.astype(np.float32), flow, grid))
    small = cv2.resize(loss, (loss.shape[1] // STEP_PX, loss.shape[0] // STEP_PX), interpolation=cv2.INTER_AREA)
    means, seen = windowed(small, np.ones_like(small), side)
    return float(means[seen].max())


def _jerk(moves: list[Plane]) -> Curve:
    found = []
    for before, after in pairwise(moves):
        power = float((before**2).sum(axis=-1).mean() + (after**2).sum(axis=-1).mean()) / 2
        change = float(((after - before) ** 2).sum(axis=-1).mean())
        found.append((change / (power + _STILL_PX**2)) ** 0.5)
    return np.array(found)


def _wobble(apart: list[Plane], weight: Plane, side: float, fps: float) -> float:
    """Velocities are averaged over two frames first: the tracker's own error, which alternates, then counts a quarter.

    A swing of 1 Hz changes its velocity v by 2 pi / fps of v in every frame; what changes more than that wobbles.
    """
    pairs = [(first + second) / 2 for first, second in pairwise(apart)]
    if len(pairs) < 3:
        return 0.0
    changes = [((after - before) ** 2).sum(axis=-1) / 4 for before, after in zip(pairs, pairs[2:], strict=False)]
    speeds = [(field**2).sum(axis=-1) for field in pairs]
    swing = np.median(speeds, axis=0) * (2 * np.pi * _SWING_HZ / fps) ** 2
    return _worst(np.maximum(np.median(changes, axis=0) - swing, 0).astype(np.float32), weight, side)


def _worst(power: Plane, weight: Plane, side: float) -> float:
    means, seen = windowed(power, weight, side)
    return float(np.sqrt(np.percentile(means[seen], 95))) if seen.any() else 0.0
