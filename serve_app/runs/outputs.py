"""What a run left, by name: `video` of the run, and `video@2` of its second attempt, delivered or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def of_run(report: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the run's outputs, or of a rejected run the evidence; nothing before its report. Artifacts as JSON."""
    report = report or {}
    return {**(report.get("evidence") or {}), **(report.get("outputs") or {})}


def of_attempts(report: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return what every attempt left, under ``<output>@<attempt>``: evidence outlives the attempt it speaks of."""
    attempts = (report or {}).get("attempts") or []
    return {
        f"{name}@{attempt['number']}": artifact
        for attempt in attempts
        for name, artifact in (attempt.get("outputs") or {}).items()
    }


def attempt_of(name: str) -> int | None:
    """Return the attempt that an output's name speaks of, or None for the run's own."""
    number = name.rpartition("@")[2] if "@" in name else ""
    return int(number) if number.isascii() and number.isdigit() else None
