"""What legitimate motion of one given picture measures: the yardstick that a clip of that picture is held against.

How far flow can be trusted depends on the picture: on its texture, on how much of it is flat. So a few clips are made
of the picture itself, moved and seen as a good camera would, and measured exactly as the clip is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from deployments.metrics.flow import STEP_PX, grid_of
from deployments.metrics.passage import passage_of
from deployments.metrics.region import Region
from deployments.metrics.scale import Grey, Plane
from deployments.metrics.still import noise_sigma
from deployments.metrics.warp import compare, photo_of

RECIPE = 1
"""Which way of making nulls this file describes: raise it with any change that changes their numbers."""
FRAMES, FPS = 13, 24.0
MOTIONS = ("pan", "zoom", "nod", "expression", "light", "grain", "jpeg", "all")
MEASURES = ("wobble", "bent", "changed", "torn", "detail")


@dataclass(frozen=True)
class Null:
    """``expected``: measure -> the largest value among the legitimate clips; ``clips``: how many there were."""

    expected: Mapping[str, float]
    clips: int


def null_of(grey: Grey, region: Region, clips: int) -> Null:
    """Make and measure ``clips`` legitimate clips of a picture at working size; 8 take about three seconds of one
    core."""
    sigma = noise_sigma(grey)
    photo = photo_of(grey, sigma)
    found: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for index in range(clips):
        frames = _clip(grey, region, MOTIONS[index % len(MOTIONS)], np.random.default_rng(index))
        late = {at: frames[at] for at in (FRAMES - 5, FRAMES - 3, FRAMES - 1)}
        against = compare(photo, late, noise_sigma(frames[-1]), region)
        found["wobble"].append(passage_of(frames, region.size_px, FPS).wobble)
        found["bent"].append(against.bent)
        for measure, values in (("changed", against.changed), ("torn", against.torn), ("detail", against.dulled)):
            found[measure].append(float(np.median(values)))
    return Null({measure: max(values) for measure, values in found.items()}, clips)


def _clip(grey: Grey, region: Region, motion: str, rng: np.random.Generator) -> list[Grey]:
    """Return ``FRAMES`` frames of the picture under one legitimate motion, over 0.5 s."""
    grid = grid_of(*grey.shape)
    is_all = motion == "all"
    field = np.zeros_like(grid)
    if motion == "pan" or is_all:
        field += rng.uniform(8, 16, 2).astype(np.float32) * rng.choice([-1, 1], 2).astype(np.float32)
    if motion in ("zoom", "jpeg", "light") or is_all:
        middle = np.array(grey.shape[::-1], np.float32) / 2
        field += (grid - middle) * np.float32(rng.uniform(0.02, 0.05) * rng.choice([-1, 1]))
    if motion in ("nod", "expression") or is_all:
        field += _subject(grid, region, motion == "nod", rng)
    gain = rng.uniform(0.8, 1.2) if motion == "light" or is_all else 1.0
    grain = rng.uniform(3, 4) if motion == "grain" else rng.uniform(0.5, 2)
    quality = 50 if motion == "jpeg" else 85
    return [
        _seen(grey, grid + field * _path(t), 1 + (gain - 1) * t, (grain, quality), rng)
        for t in np.linspace(0, 1, FRAMES)
    ]


def _path(t: float) -> np.float32:
    return np.float32(1 - (1 - t) ** 2)


def _subject(grid: Plane, region: Region, is_nod: bool, rng: np.random.Generator) -> Plane:
    """Return a head that nods by 5 % of its size, or a mouth that opens by 3 %."""
    height, width = grid.shape[:2]
    centre = np.array([width / 2, height / 2], np.float32)
    if region.mask is not None:
        rows, columns = np.nonzero(region.mask)
        centre = np.array([columns.mean(), rows.mean()], np.float32) * STEP_PX
    size = region.size_px
    reach = size * (0.9 if is_nod else 0.22)
    if not is_nod:
        centre = centre + np.array([0, 0.26 * size], np.float32)
    away = (grid - centre) / reach
    window = np.exp(-((away**2).sum(axis=-1) ** 2))[..., None].astype(np.float32)
    if is_nod:
        turn = np.float32(rng.uniform(-0.06, 0.06))
        spun = (grid - centre)[..., ::-1] * np.array([-turn, turn], np.float32)
        return np.asarray(window * (spun + rng.uniform(-0.05, 0.05, 2).astype(np.float32) * size))
    lips = np.clip(away[..., 1:] * 4, -1, 1) * np.array([0, 0.03 * size], np.float32)
    return np.asarray(-window * lips)


def _seen(grey: Grey, places: Plane, gain: float, camera: tuple[float, int], rng: np.random.Generator) -> Grey:
    moved = cv2.remap(grey, places.astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    grain, quality = camera
    lit = moved * np.float32(gain) + rng.standard_normal(grey.shape, np.float32) * np.float32(grain)
    _, data = cv2.imencode(".jpg", np.clip(lit, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
