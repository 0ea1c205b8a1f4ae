"""From a number to a word: a reading, the limits it is held against, and the finding that a person can read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from serve_app.core.score import Finding, Verdict

CAPS = {Verdict.PASS: 100.0, Verdict.WARN: 74.0, Verdict.FAIL: 49.0, Verdict.REJECT: 20.0}
"""The most points that a finding of each verdict leaves."""
NOTHING = frozenset({"integrity", "black", "blank"})
"""Detectors whose REJECT leaves no points at all."""
_TIERS = ((85.0, "EXCELLENT"), (70.0, "GOOD"), (0.0, "ACCEPTABLE"))


Trace = tuple[tuple[int, ...], tuple[float, ...]]
"""Frames, and what was measured at each."""


@dataclass(frozen=True)
class Reading:
    """One measured number, the frame where it was worst (None: of the whole), and the ``trace`` that it came from."""

    value: float
    frame: int | None = None
    trace: Trace | None = None


@dataclass(frozen=True)
class Limit:
    """WARN, FAIL and REJECT beyond these; None never fires. ``is_floor``: beyond means below."""

    warn: float | None
    fail: float | None
    reject: float | None = None
    is_floor: bool = False

    def verdict(self, value: float) -> Verdict:
        """Return the worst verdict whose limit ``value`` has passed."""
        for word, at in ((Verdict.REJECT, self.reject), (Verdict.FAIL, self.fail), (Verdict.WARN, self.warn)):
            if at is not None and (value < at if self.is_floor else value > at):
                return word
        return Verdict.PASS


@dataclass(frozen=True)
class Rule:
    """Which ``measure`` a ``detector`` reads, in which ``unit``, and how it says so.

    ``bad`` and ``good`` are sentences with ``{value}`` and ``{frame}``.
    """

    detector: str
    measure: str
    unit: str
    bad: str
    good: str


def finding(rule: Rule, reading: Reading, limit: Limit) -> Finding:
    """Return what ``rule`` says of ``reading`` under ``limit``."""
    verdict = limit.verdict(reading.value)
    words = rule.good if verdict is Verdict.PASS else rule.bad
    reason = words.format(value=reading.value, frame=0 if reading.frame is None else reading.frame)
    return Finding(rule.detector, verdict, reading.value, rule.unit, reason, reading.frame, limit.warn, limit.fail)


def worst_of_each(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Keep one finding per detector, the worst (the first of equals), in the order of first appearance."""
    kept: dict[str, Finding] = {}
    for found in findings:
        if found.detector not in kept or found.verdict > kept[found.detector].verdict:
            kept[found.detector] = found
    return tuple(kept.values())


def excused(found: Finding, even_rejected: bool = False) -> Finding:
    """Return a finding one step milder, because the input picture has the same flaw: no other seed would mend it.

    ``even_rejected``: a REJECT becomes a WARN; else it stays one.
    """
    if found.verdict is Verdict.PASS or (found.verdict is Verdict.REJECT and not even_rejected):
        return found
    milder = Verdict.WARN if found.verdict is Verdict.REJECT else Verdict(found.verdict - 1)
    return replace(found, verdict=milder, reason=f"{found.reason}; so does the picture it was made from")


def capped(points: float, findings: Iterable[Finding]) -> float:
    """Return ``points``, at most what the worst finding leaves: 74 on WARN, 49 on FAIL, 20 or 0 on REJECT."""
    for found in findings:
        is_nothing = found.verdict is Verdict.REJECT and found.detector in NOTHING
        points = min(points, 0.0 if is_nothing else CAPS[found.verdict])
    return points


def label_of(verdict: Verdict, points: float) -> str:
    """Return EXCELLENT (85 points and more), GOOD (70) or ACCEPTABLE for a PASS, else the verdict."""
    if verdict is not Verdict.PASS:
        return verdict.name
    return next(label for least, label in _TIERS if points >= least)
