"""What was measured over time, with the limits that it was held against, for a reader who wants to see it."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.metrics.findings import Limit, Reading
from deployments.metrics.limits import FLOORS, ClipLimits, limit_of
from deployments.metrics.null import Null
from deployments.metrics.rules import limit_given
from serve_app.core.score import Series

_SHOWN: tuple[tuple[str, str, str, str], ...] = (
    ("luma_min", "black", "levels", "lowest"),
    ("contrast_min", "blank", "levels", "lowest"),
    ("blur", "blur", "levels^2", "10th percentile"),
    ("motion", "frozen", "levels", "mean"),
    ("flicker", "flicker", "levels", "mean"),
    ("stutter", "stutter", "ratio", "median"),
    ("cut", "identity", "1-ZNCC", "highest"),
    ("torn", "identity", "1-ZNCC", "median of the last three"),
    ("lost", "identity", "share", "median of the last three"),
    ("changed", "drift", "1-cosine", "median of the last three"),
    ("detail", "detail", "log ratio", "median of the last three"),
)
"""Measure, detector, unit, and what of the values the limits are meant for."""


def series_of(readings: Mapping[str, Reading], limits: ClipLimits, null: Null | None) -> tuple[Series, ...]:
    """Return every reading that has a trace as a series; numbers have four digits, which is more than a plot shows."""
    found = []
    for measure, detector, unit, taken in _SHOWN:
        reading = readings.get(measure)
        if reading is None or reading.trace is None:
            continue
        frames, values = reading.trace
        limit = _limit(measure, limits, null)
        short = tuple(float(f"{value:.4g}") for value in values)
        fail = limit.reject if limit.fail is None else limit.fail
        found.append(Series(measure, detector, unit, taken, frames, short, limit.warn, fail, limit.is_floor))
    return tuple(found)


def _limit(measure: str, limits: ClipLimits, null: Null | None) -> Limit:
    if measure == "luma_min":
        return Limit(None, limits.black_below, is_floor=True)
    if measure == "contrast_min":
        return Limit(None, limits.blank_below, is_floor=True)
    if measure == "blur":
        return limit_of(limits, measure, measure in FLOORS)
    return limit_given(measure, limits, null)
