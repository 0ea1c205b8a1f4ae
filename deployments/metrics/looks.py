"""One look at every frame: how it is by itself, and its grey at working size for what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from deployments.metrics import still
from deployments.metrics.scale import CLIP_AREA_PX, Grey, grey_of, scaled, size_for
from deployments.metrics.seed_score import CLIP_SHARPNESS, seed_score
from serve_app.core.media import Clip, Pixels
from serve_app.core.streaming import Chunk

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


@dataclass(frozen=True)
class LooksPart:
    """One look at every frame of a chunk, ``light`` being (luma, contrast) of each, and the others of a few frames."""

    greys: list[Grey]
    light: list[tuple[float, float]]
    noise: list[float]
    noise_small: list[float]
    tones: list[still.Tones]
    blocks: list[float]
    terraces: list[float]


def looks_of(frames: Pixels, each: Callable[[int], None]) -> Looks:
    """Look at frames ``(T, H, W, 3)``, T above 0; ``each`` is told the number of frames seen."""
    part = look_at(Chunk.whole(Clip(frames, Fraction(1), "")), each)
    return looks_from([part], (frames.shape[1], frames.shape[2]))


def look_at(chunk: Chunk, each: Callable[[int], None]) -> LooksPart:
    """Look at the frames of a chunk; which of them is looked at closely depends on their places in the clip."""
    frames, of = chunk.clip.frames, chunk.of
    size = size_for(frames.shape[1], frames.shape[2], CLIP_AREA_PX)
    part = LooksPart([], [], [], [], [], [], [])
    shown = {0, of // 2, of - 1} if of > _TERRACES else {0}
    for index, frame in enumerate(frames, chunk.first):
        grey = grey_of(frame)
        part.greys.append(scaled(grey, size))
        part.light.append(still.light(grey))
        if index % _EVERY == 0:
            part.noise.append(still.noise_sigma(grey))
            part.noise_small.append(still.noise_sigma(part.greys[-1]))
            part.tones.append(still.tones(grey))
        if index % _SELDOM == 0:
            part.blocks.append(still.blockiness(grey))
        if index in shown:
            part.terraces.append(still.banding(grey))
        each(index - chunk.first + 1)
    return part


def looks_from(parts: Sequence[LooksPart], size_px: tuple[int, int]) -> Looks:
    """Put the chunks of a clip of frames of ``size_px`` (height, width) together, in order."""
    greys = [grey for part in parts for grey in part.greys]
    luma, contrast = np.array([pair for part in parts for pair in part.light]).T
    tones = [one for part in parts for one in part.tones]
    spread = still.Tones(
        *(float(np.median([getattr(each, name) for each in tones])) for name in ("crushed", "blown", "bits"))
    )
    named = ("noise", "noise_small", "blocks", "terraces")
    grain, grain_small, blocks, bands = (
        float(np.median([value for part in parts for value in getattr(part, name)])) for name in named
    )
    gain = still.log_noise_gain(size_px, greys[0].shape)
    log1c = np.array([still.log_variance(grey, grain, gain) for grey in greys])
    return Looks(greys, luma, contrast, log1c, grain, grain_small, spread, blocks, bands)
