"""Everything that is measured of a clip, by name, with the frame where each was worst."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deployments.metrics.findings import Reading, Trace
from deployments.metrics.looks import Curve, Looks
from deployments.metrics.motion import flicker, jump, repeats, steps_of, tremor
from deployments.metrics.passage import passage_of
from deployments.metrics.region import Region
from deployments.metrics.scale import Grey
from deployments.metrics.warp import Comparison, Photo, compare

Readings = dict[str, Reading]
_LATE = 3
_VIEWS = 6
_SMALL = (256, 256)


@dataclass(frozen=True)
class Reference:
    """What a clip is compared with at working size: ``photo``, its ``grey``, and whether it is the clip's own frame
    0."""

    photo: Photo
    grey: Grey
    is_own: bool


def frame_readings(looks: Looks) -> Readings:
    """Return what single frames show."""
    dark, blank = int(looks.luma.argmin()), int(looks.contrast.argmin())
    soft = float(np.percentile(looks.log1c, 10))
    return {
        "luma_min": Reading(float(looks.luma[dark]), dark, trace(looks.luma)),
        "contrast_min": Reading(float(looks.contrast[blank]), blank, trace(looks.contrast)),
        "blur": Reading(soft, int(np.abs(looks.log1c - soft).argmin()), trace(looks.log1c)),
        "noise": Reading(looks.noise),
        "dark": Reading(float(np.median(looks.luma)), dark),
        "bright": Reading(float(np.median(looks.luma)), int(looks.luma.argmax())),
        "clipped": Reading(looks.tones.crushed + looks.tones.blown),
        "tones": Reading(looks.tones.bits),
        "blocks": Reading(looks.blocks),
        "banding": Reading(looks.banding),
    }


def step_readings(looks: Looks, duplicate_below: float) -> Readings:
    """Return what neighbouring frames show."""
    steps = steps_of(looks.greys)
    same = repeats(steps, duplicate_below)
    level, local, shaken = flicker(steps)
    leap, leapt = jump(steps)
    return {
        "frozen": Reading(float(same.mean()), int(same.argmax()) + 1 if same.any() else None),
        "motion": Reading(float(steps.change.mean()), None, trace(steps.change, 1)),
        "flicker": Reading(level, shaken, trace(tremor(steps.luma), 1)),
        "flicker_local": Reading(local, shaken),
        "jump": Reading(leap, leapt),
    }


def passage_readings(looks: Looks, region: Region, fps: float) -> Readings:
    """Return what following the pixels from frame to frame shows."""
    passage = passage_of(looks.greys, region.size_px, fps)
    return {
        "stutter": Reading(*passage.stutter, trace(passage.jerk, 1)),
        "cut": Reading(*passage.cut, trace(passage.breaks - float(np.median(passage.breaks)), 1)),
        "wobble": Reading(passage.wobble),
    }


def reference_readings(looks: Looks, reference: Reference, region: Region) -> Readings:
    """Return how six frames, evenly spread up to the last, compare with the reference."""
    count = len(looks.greys)
    places = sorted({max(0, round(count * (i + 1) / _VIEWS) - 1) for i in range(_VIEWS)})
    found = compare(reference.photo, {at: looks.greys[at] for at in places}, looks.noise_small, region)
    readings = {
        "bent": Reading(found.bent, places[-1]),
        "changed": _late(found.changed, places),
        "torn": _late(found.torn, places),
        "detail": _late(found.dulled, places),
        "lost": _late(found.lost, places),
    }
    if not reference.is_own:
        readings["first"] = Reading(1 - _alike(reference.grey, looks.greys[0]), 0)
    return readings


def onset(looks: Looks, reference: Reference, region: Region, level: float) -> int:
    """Return the first frame torn from the reference by more than ``level``, by bisection: about log2(T)
    comparisons."""
    low, high = 0, len(looks.greys) - 1
    while high - low > 1:
        middle = (low + high) // 2
        found: Comparison = compare(reference.photo, {middle: looks.greys[middle]}, looks.noise_small, region)
        low, high = (low, middle) if found.torn[0] > level else (middle, high)
    return high


def _late(values: tuple[float, ...], places: list[int]) -> Reading:
    """Return the median of the last three, and where the largest of all is."""
    return Reading(float(np.median(values[-_LATE:])), places[int(np.argmax(values))], (tuple(places), values))


def trace(values: Curve, first: int = 0) -> Trace:
    """Return a curve as a trace; its first value is of the frame ``first``."""
    return tuple(range(first, first + len(values))), tuple(float(value) for value in values)


def _alike(first: Grey, second: Grey) -> float:
    """Return the ZNCC, -1..1, of two frames at 256x256: blind to gain and bias. Two flat frames are alike."""
    planes = [cv2.resize(each, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float64) for each in (first, second)]
    a, b = (plane - plane.mean() for plane in planes)
    return float(((a * b).sum() + 1) / (((a * a).sum() + 1) * ((b * b).sum() + 1)) ** 0.5)
