"""What neighbouring frames show without following anything: repeats, light that jumps, light that trembles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from deployments.metrics.scale import Grey

Curve = npt.NDArray[np.float64]
TILES = (9, 16)


@dataclass(frozen=True)
class Steps:
    """``change`` (T-1,): mean absolute change of luma to the next frame; ``tiles`` (T, 9, 16): mean luma. In levels."""

    change: Curve
    tiles: Curve

    @property
    def luma(self) -> Curve:
        """Mean luma of every frame (T,), in levels."""
        return np.asarray(self.tiles.mean(axis=(1, 2)))


def steps_of(greys: list[Grey]) -> Steps:
    """Return the steps of frames that all have one size."""
    change = [cv2.norm(after, before, cv2.NORM_L1) / after.size for before, after in pairwise(greys)]
    tiles = [cv2.resize(grey.astype(np.float32), TILES[::-1], interpolation=cv2.INTER_AREA) for grey in greys]
    return Steps(np.array(change, np.float64), np.array(tiles, np.float64))


def repeats(steps: Steps, below: float) -> npt.NDArray[np.bool_]:
    """Return (T-1,): whether a frame repeats the one before, changing by less than ``below`` levels."""
    return np.asarray(steps.change < below)


def tremor(values: Curve) -> Curve:
    """Return (T-2, ...): how far each value is from the mean of its neighbours in time. A steady slope has none."""
    return np.abs(values[1:-1] - 0.5 * (values[:-2] + values[2:]))


def flicker(steps: Steps) -> tuple[float, float, int]:
    """Return (global, local, frame): mean tremor of the frame's light, that of its tiles beyond it, and where it is
    worst.

    In levels. The mean is without its four largest values: a cut, or a frame gone black, is no flicker. Local is the
    90th percentile over 16x9 tiles. Both are 0 for a clip of fewer than eight frames.
    """
    if len(steps.tiles) < 8:
        return 0.0, 0.0, 0
    whole = tremor(steps.luma)
    apart = tremor(steps.tiles - steps.luma[:, None, None])
    local = np.percentile(_trimmed(apart), 90)
    return float(_trimmed(whole)), float(local), int(whole.argmax()) + 1


def _trimmed(tremors: Curve) -> Curve:
    return np.asarray(np.sort(tremors, axis=0)[:-4].mean(axis=0))


def jump(steps: Steps) -> tuple[float, int]:
    """Return how many times the usual change the largest one is (usual: the median, at least half a level), and its
    frame."""
    if len(steps.change) < 4:
        return 0.0, 0
    return float(steps.change.max() / max(0.5, float(np.median(steps.change)))), int(steps.change.argmax()) + 1
