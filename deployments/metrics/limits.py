"""The thresholds that operators may tune: a WARN and a FAIL (some: a REJECT) for every measure. None never fires."""

from __future__ import annotations

from pydantic import Field

from deployments.metrics.findings import Limit
from serve_app.core.errors import InvalidInput
from serve_app.core.stage import Strict


class StillLimits(Strict):
    """What one picture is held against. Levels are 8-bit; a WARN, FAIL or REJECT of None never fires."""

    black_below: float = Field(8.0, ge=0, le=255)
    """Mean luma, levels: below it a frame is black; one fails a clip, a tenth reject it."""
    blank_below: float = Field(3.0, ge=0, le=128)
    """Contrast (deviation of luma), levels: below it a frame is blank; one fails a clip, a tenth reject it."""
    tones_fail: float | None = Field(1.5, ge=0, le=8)
    """Entropy of luma, bits: below it there is no picture, only a pattern."""
    noise_warn: float | None = Field(3.0, ge=0)
    """Deviation of the grain, levels, at the frame's own size."""
    noise_fail: float | None = Field(6.0, ge=0)
    """Deviation of the grain, levels."""
    noise_reject: float | None = Field(12.0, ge=0)
    """Deviation of the grain, levels."""
    dark_warn: float | None = Field(60.0, ge=0, le=255)
    """Mean luma, levels: below it the picture is dark."""
    dark_fail: float | None = Field(40.0, ge=0, le=255)
    """Mean luma, levels: below it the picture is far too dark."""
    bright_warn: float | None = Field(200.0, ge=0, le=255)
    """Mean luma, levels: above it the picture is washed out."""
    bright_fail: float | None = Field(220.0, ge=0, le=255)
    """Mean luma, levels: above it hardly anything is left."""
    clipped_warn: float | None = Field(0.1, ge=0, le=1)
    """Share of pixels that are pure black or white (at most 2, at least 253)."""
    clipped_fail: float | None = Field(0.6, ge=0, le=1)
    """Share of pixels that are pure black or white."""
    blocks_warn: float | None = Field(1.0, ge=0)
    """How far the grid of 8x8 blocks stands out of other steps, as a share of them."""
    blocks_fail: float | None = Field(2.0, ge=0)
    """How far the grid of 8x8 blocks stands out."""
    banding_warn: float | None = Field(0.3, ge=0, le=1)
    """Share of smooth ground that is terraced; not looked at where blocks reach 0.5."""
    banding_fail: float | None = Field(0.5, ge=0, le=1)
    """Share of smooth ground that is terraced."""


class ClipLimits(StillLimits):
    """What a clip is held against: the limits of its frames, and of what happens between them."""

    blur_warn: float | None = Field(3.0, ge=0)
    """LoG1c at 640x360, levels squared, the 10th percentile of frames: below it the clip is soft."""
    blur_fail: float | None = Field(1.0, ge=0)
    """LoG1c, levels squared, below."""
    blur_reject: float | None = Field(0.2, ge=0)
    """LoG1c, levels squared, below: nothing is left to see."""
    duplicate_below: float = Field(0.05, ge=0, le=255)
    """A frame repeats the one before when luma changes by less than this, levels."""
    frozen_warn: float | None = Field(0.2, ge=0, le=1)
    """Share of frames that repeat the one before."""
    frozen_fail: float | None = Field(0.45, ge=0, le=1)
    """Share of frames that repeat the one before."""
    frozen_reject: float | None = Field(0.999, ge=0, le=1)
    """Share of frames that repeat the one before: all of them."""
    motion_warn: float | None = Field(0.15, ge=0, le=255)
    """Mean change of luma per frame, levels: below it hardly anything moves."""
    stutter_warn: float | None = Field(1.1, ge=0)
    """Median change of velocity as a share of velocity; 0 is even, 1.7 frames in random order."""
    stutter_fail: float | None = Field(1.35, ge=0)
    """Median change of velocity as a share of velocity."""
    flicker_warn: float | None = Field(1.5, ge=0)
    """How far the frame's light is from its neighbours' mean, on average, levels."""
    flicker_fail: float | None = Field(4.0, ge=0)
    """How far the frame's light is from its neighbours' mean, levels."""
    flicker_local_warn: float | None = Field(3.0, ge=0)
    """The same of a sixteenth by a ninth of the frame, beyond the whole's, levels."""
    flicker_local_fail: float | None = Field(8.0, ge=0)
    """The same of a sixteenth by a ninth of the frame, levels."""
    lost_reject: float | None = Field(0.5, ge=0, le=1)
    """Share of the picture that cannot be followed to the late frames and back."""
    cut_warn: float | None = Field(0.065, ge=0)
    """1 - ZNCC that breaks off between two frames, beyond the median of all."""
    cut_fail: float | None = Field(0.11, ge=0)
    """1 - ZNCC that breaks off between two frames."""
    torn_warn: float | None = Field(0.05, ge=0)
    """1 - ZNCC with the picture after all motion is undone, late in the clip."""
    torn_fail: float | None = Field(0.08, ge=0)
    """1 - ZNCC with the picture after all motion is undone."""
    first_warn: float | None = Field(0.05, ge=0)
    """1 - ZNCC of the first frame and the picture at 256x256, whatever the light."""
    first_fail: float | None = Field(0.15, ge=0)
    """1 - ZNCC of the first frame and the picture."""
    detail_warn: float | None = Field(0.3, ge=0)
    """Logarithm of the factor by which fine detail is less than in the picture."""
    detail_fail: float | None = Field(0.7, ge=0)
    """Logarithm of the factor by which fine detail is less."""
    bent_warn: float | None = Field(1.4, ge=0)
    """RMS of lasting motion that no affine one explains, % of the face's (or window's) size."""
    bent_fail: float | None = Field(4.0, ge=0)
    """RMS of lasting motion that no affine one explains, % of the size."""
    changed_warn: float | None = Field(0.03, ge=0)
    """1 - cosine of the oriented gradients after the rigid motion is undone."""
    changed_fail: float | None = Field(0.2, ge=0)
    """1 - cosine of the oriented gradients."""
    wobble_warn: float | None = Field(0.25, ge=0)
    """RMS change per frame of the velocity that no camera explains, px per frame squared at 640x360."""
    wobble_fail: float | None = Field(1.0, ge=0)
    """RMS change per frame of that velocity, px per frame squared."""
    face_warn: float | None = Field(0.45, ge=-1, le=1)
    """Cosine of SFace's features of a late face and the picture's, below. Only with a face recogniser."""
    face_fail: float | None = Field(0.363, ge=-1, le=1)
    """The same; OpenCV's published value, from which on two faces are one person's."""
    faces_lost_warn: float | None = Field(0.5, ge=0, le=1)
    """Share of the late checkpoints without the face that the picture shows. Only with a face recogniser."""
    flicker_gain_warn: float | None = Field(1.6, ge=0)
    """How many times the draft's the error of following the luma is. Only with a draft."""
    flicker_gain_fail: float | None = Field(1.75, ge=0)
    """The same."""
    shimmer_gain_warn: float | None = Field(1.6, ge=0)
    """How many times the draft's the error of following the fine detail is. Only with a draft."""
    shimmer_gain_fail: float | None = Field(1.75, ge=0)
    """The same."""


def limit_of(limits: StillLimits, name: str, is_floor: bool = False) -> Limit:
    """Return the limit called ``name``: its fields ``<name>_warn``, ``_fail`` and ``_reject``, as far as there are
    any."""
    found = [getattr(limits, f"{name}_{word}", None) for word in ("warn", "fail", "reject")]
    return Limit(found[0], found[1], found[2], is_floor)


FLOORS = frozenset({"blur", "dark", "face", "face_blur", "motion", "tones"})
"""Limits that are passed by falling below them."""


def check_order(limits: StillLimits) -> None:
    """Raise InvalidInput naming the FAIL (or REJECT) limit that is milder than the one before it."""
    names = [field.removesuffix("_fail") for field in type(limits).model_fields if field.endswith("_fail")]
    for name in names:
        limit = limit_of(limits, name)
        sign = -1 if name in FLOORS else 1
        for word, mild, strict in (("fail", limit.warn, limit.fail), ("reject", limit.fail, limit.reject)):
            if mild is not None and strict is not None and sign * strict < sign * mild:
                raise InvalidInput(f"{name}_{word}", f"{strict:g} is milder than the limit before it, {mild:g}")
