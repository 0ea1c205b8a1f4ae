"""One look at every frame: how it is by itself, and its grey at working size for what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployments.metrics import still
from deployments.metrics.scale import CLIP_AREA_PX, Grey, grey_of, scaled, size_for
from deployments.metrics.seed_score import CLIP_SHARPNESS, seed_score
from serve_app.core.media import Pixels

Curve = npt.NDArray[np.float64]
_EVERY, _SELDOM, _TERRACES = 4, 8, 3
"""Grain and tones are taken of every 4th frame, blocks of every 8th, terraces of three frames: they hardly change."""


@dataclass(frozen=True)
class Looks:
    """``luma``, ``contrast``, ``log1c`` (T,) of every frame; grain, tones, blocks and terraces: medians of a few
    frames.

    ``greys``: T frames at working size, uint8. ``noise`` is at the frame's own size, ``noise_small`` at working size.
    """

    greys: list[Grey]
    luma: Curve
    contrast: Curve
    log1c: Curve
    noise: float
    noise_small: float
    tones: still.Tones
    blocks: float
    banding: float

    @property
    def points(self) -> float:
        """The 10th percentile of the frames' classic scores, LoG1c in the place of the Laplacian: 50..100."""
        scores = [
            seed_score(sharp, bright, contrast, CLIP_SHARPNESS)
            for sharp, bright, contrast in zip(self.log1c, self.luma, self.contrast, strict=True)
        ]
        return float(np.percentile(scores, 10))


def looks_of(frames: Pixels, each: Callable[[int], None]) -> Looks:
    """Look at frames ``(T, H, W, 3)``, T above 0; ``each`` is told the number of frames seen."""
    size = size_for(frames.shape[1], frames.shape[2], CLIP_AREA_PX)
    greys: list[Grey] = []
    light, seldom = [], []
    noise, noise_small, tones, terraces = [], [], [], []
    shown = {0, len(frames) // 2, len(frames) - 1} if len(frames) > _TERRACES else {0}
    for index, frame in enumerate(frames):
        grey = grey_of(frame)
        greys.append(scaled(grey, size))
        light.append(still.light(grey))
        if index % _EVERY == 0:
            noise.append(still.noise_sigma(grey))
            noise_small.append(still.noise_sigma(greys[-1]))
            tones.append(still.tones(grey))
        if index % _SELDOM == 0:
            seldom.append(still.blockiness(grey))
        if index in shown:
            terraces.append(still.banding(grey))
        each(index + 1)
    luma, contrast = np.array(light).T
    spread = still.Tones(
        *(float(np.median([getattr(each, name) for each in tones])) for name in ("crushed", "blown", "bits"))
    )
    grain, grain_small, blocks, bands = (float(np.median(values)) for values in (noise, noise_small, seldom, terraces))
    gain = still.log_noise_gain((frames.shape[1], frames.shape[2]), size)
    log1c = np.array([still.log_variance(grey, grain, gain) for grey in greys])
    return Looks(greys, luma, contrast, log1c, grain, grain_small, spread, blocks, bands)
