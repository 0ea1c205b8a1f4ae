"""Which detector reads which measure, in the order in which they explain a clip: the first of the worst is the
reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from deployments.metrics.findings import Limit, Reading, Rule, excused, finding, worst_of_each
from deployments.metrics.limits import FLOORS, StillLimits, limit_of
from deployments.metrics.null import Null
from serve_app.core.score import Finding, Verdict

FRAME_RULES = (
    Rule(
        "blank",
        "tones",
        "bits",
        "there is no picture: its tones hold {value:.1f} bits, as much as a pattern of two colours",
        "its tones hold {value:.1f} bits",
    ),
    Rule(
        "exposure",
        "dark",
        "levels",
        "the picture is dark: mean luma is {value:.0f} of 255",
        "mean luma is {value:.0f} of 255",
    ),
    Rule(
        "exposure",
        "bright",
        "levels",
        "the picture is washed out: mean luma is {value:.0f} of 255",
        "mean luma is {value:.0f} of 255",
    ),
    Rule(
        "exposure",
        "clipped",
        "share",
        "light is lost: a share of {value:.2f} of the pixels is pure black or white",
        "a share of {value:.2f} of the pixels is pure black or white",
    ),
    Rule(
        "blur",
        "blur",
        "levels^2",
        "the picture is soft: its fine detail measures {value:.3g}",
        "fine detail measures {value:.3g}",
    ),
    Rule(
        "blur",
        "face_blur",
        "levels^2",
        "the face is soft: its sharpness measures {value:.3g}",
        "the face's sharpness measures {value:.3g}",
    ),
    Rule("noise", "noise", "levels", "grain of {value:.1f} levels covers the picture", "grain is {value:.1f} levels"),
    Rule(
        "blocks",
        "blocks",
        "ratio",
        "compression shows: the edges of its blocks stand out by {value:.1f}",
        "the edges of compression blocks stand out by {value:.1f}",
    ),
    Rule(
        "banding",
        "banding",
        "share",
        "smooth ground falls into terraces, a share of {value:.2f} of it",
        "a share of {value:.2f} of smooth ground is terraced",
    ),
)
"""What a clip may have inherited from its picture."""

MOTION_RULES = (
    Rule(
        "frozen",
        "frozen",
        "share",
        "the clip stands still: a share of {value:.2f} of its frames repeats the one before, first frame {frame}",
        "a share of {value:.2f} of its frames repeats the one before",
    ),
    Rule(
        "frozen",
        "motion",
        "levels",
        "hardly anything moves: frames differ by {value:.2f} levels on average",
        "frames differ by {value:.1f} levels on average",
    ),
    Rule(
        "stutter",
        "stutter",
        "ratio",
        "motion jerks back and forth: its speed changes by {value:.1f} times itself per frame, most at frame {frame}",
        "motion is even: its speed changes by {value:.2f} times itself per frame",
    ),
    Rule(
        "flicker",
        "flicker",
        "levels",
        "the light flickers by {value:.1f} levels from frame to frame, most at frame {frame}",
        "the light changes evenly, within {value:.2f} levels",
    ),
    Rule(
        "flicker",
        "flicker_local",
        "levels",
        "parts of the picture flicker by {value:.1f} levels, most at frame {frame}",
        "the light of every part changes evenly, within {value:.2f} levels",
    ),
    Rule(
        "flicker",
        "flicker_gain",
        "ratio",
        "finishing makes the light flicker {value:.2f} times as much as in the draft, most at frame {frame}",
        "finishing adds no flicker: {value:.2f} times the draft's",
    ),
    Rule(
        "flicker",
        "shimmer_gain",
        "ratio",
        "finishing makes fine detail shimmer {value:.2f} times as much as in the draft, most at frame {frame}",
        "finishing adds no shimmer: {value:.2f} times the draft's",
    ),
    Rule(
        "identity",
        "lost",
        "share",
        "this is another picture: a share of {value:.2f} of it cannot be found again, since frame {frame}",
        "all but a share of {value:.2f} is found again",
    ),
    Rule(
        "identity",
        "cut",
        "1-ZNCC",
        "somebody or something else is shown from frame {frame} on: {value:.2f} of the match breaks off at once",
        "no frame breaks with the one before, by more than {value:.3f}",
    ),
    Rule(
        "identity",
        "torn",
        "1-ZNCC",
        "somebody or something else is shown from frame {frame} on: {value:.2f} of the match with the picture is gone",
        "the picture is recognised to the end, within {value:.3f}",
    ),
    Rule(
        "identity",
        "face",
        "cosine",
        "the face may be somebody else's from frame {frame} on: its cosine with the picture's is {value:.2f}",
        "the face is the picture's, with a cosine of {value:.2f}",
    ),
    Rule(
        "identity",
        "faces_lost",
        "share",
        "the picture's face is not to be found at a share of {value:.2f} of the late checkpoints, nor at frame {frame}",
        "the picture's face is found late in the clip, but for a share of {value:.2f}",
    ),
    Rule(
        "first_frame",
        "first",
        "1-ZNCC",
        "the first frame is not the picture that was given: {value:.2f} of the match is missing",
        "the first frame is the picture that was given",
    ),
    Rule(
        "detail",
        "detail",
        "log ratio",
        "fine detail melts away, most at frame {frame}: e^{value:.1f} times less than in the picture",
        "fine detail stays, within e^{value:.2f}",
    ),
    Rule(
        "drift",
        "bent",
        "% of size",
        "shapes drift: by frame {frame} they are bent by {value:.1f} % of their size",
        "shapes keep, within {value:.2f} % of their size",
    ),
    Rule(
        "drift",
        "changed",
        "1-cosine",
        "outlines melt: by frame {frame} {value:.2f} of them run another way",
        "outlines keep their way, within {value:.3f}",
    ),
    Rule(
        "wobble",
        "wobble",
        "px/frame^2",
        "the picture wobbles like jelly, by {value:.2f} px per frame and frame",
        "nothing wobbles by more than {value:.2f} px per frame and frame",
    ),
)
NULL_RATIOS = {
    "bent": (1.5, 4.0),
    "changed": (2.0, 4.0),
    "torn": (2.5, 3.0),
    "detail": (1.5, 3.0),
    "wobble": (1.0, 3.0),
}
"""How many times what legitimate motion of the same picture measures is suspicious, and how many times a failure."""


_FAINT_CONTRAST = 12.0
"""Deviation of luma, levels: below it, a picture is nearly one tone."""
_BLUR_TEARS = 2.0
"""A match that blur alone spoils stays below twice the FAIL limit; somebody else's face goes beyond."""


def frame_findings(
    readings: Mapping[str, Reading], limits: StillLimits, source: Mapping[str, Reading] | None
) -> list[Finding]:
    """Return what single frames are found to be; a flaw that ``source``, the input picture, has too counts less."""
    found = []
    for rule in FRAME_RULES:
        limit = limit_of(limits, rule.measure, rule.measure in FLOORS)
        if rule.measure not in readings or (rule.measure == "banding" and readings["blocks"].value >= 0.5):
            continue
        now = finding(rule, readings[rule.measure], limit)
        is_old = (
            source is not None and rule.measure in source and limit.verdict(source[rule.measure].value) >= now.verdict
        )
        found.append(excused(now, rule.measure == "blur" and _is_faint(source)) if is_old else now)
    return found


def _is_faint(source: Mapping[str, Reading] | None) -> bool:
    """Whether the input picture is so dark or flat that fine detail cannot be asked of it; noise is not."""
    return source is not None and source["contrast_min"].value < _FAINT_CONTRAST


def motion_findings(readings: Mapping[str, Reading], limits: StillLimits, null: Null | None) -> list[Finding]:
    """Return what happens between frames, and between the clip and its picture.

    What has lost its detail cannot match its picture well either, so blur is not taken for somebody else.
    """
    found = {
        rule.measure: finding(rule, readings[rule.measure], limit_given(rule.measure, limits, null))
        for rule in MOTION_RULES
        if rule.measure in readings
    }
    torn, fail = found["torn"], found["torn"].fail_at
    is_blurred = found["detail"].verdict is Verdict.FAIL and fail is not None and torn.value < _BLUR_TEARS * fail
    if is_blurred and torn.verdict is Verdict.FAIL:
        found["torn"] = replace(torn, verdict=Verdict.WARN)
    return list(found.values())


def limit_given(measure: str, limits: StillLimits, null: Null | None) -> Limit:
    """Return the limit of a measure, given what legitimate motion of the picture measures.

    WARN is the geometric mean of the limit as configured, which knows many pictures, and of the null's, which knows
    this one, from a few clips; it stays within half and twice of the former. FAIL is the milder of both.
    """
    limit = limit_of(limits, measure, measure in FLOORS)
    if null is None or measure not in NULL_RATIOS:
        return limit
    warn, fail = (ratio * null.expected[measure] for ratio in NULL_RATIOS[measure])
    return replace(
        limit,
        warn=None if limit.warn is None else _between(limit.warn, warn),
        fail=None if limit.fail is None else max(fail, limit.fail),
    )


def _between(configured: float, measured: float) -> float:
    """Return the geometric mean, within half and twice of what is configured."""
    mean = math.sqrt(configured * max(measured, 0.0))
    return min(2 * configured, max(0.5 * configured, mean))


def settled(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return one finding per detector."""
    return worst_of_each(findings)
