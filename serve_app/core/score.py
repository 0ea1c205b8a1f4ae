"""What a judge says: numbers with their units and thresholds, findings, and the verdict that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Verdict(IntEnum):
    """Worse is greater, so the verdict of many findings is their maximum."""

    PASS = 0
    WARN = 1
    FAIL = 2  # another seed may do better
    REJECT = 3  # not a clip at all: undecodable, not finite, not what was asked for

    @property
    def word(self) -> str:
        """``pass``, ``warn``, ``fail`` or ``reject``."""
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One detector's word on one clip: ``value`` in ``unit`` against its thresholds, and where it was worst.

    ``frame`` is the index of the worst frame (None: the whole clip); a threshold of None never fires.
    """

    detector: str
    verdict: Verdict
    value: float
    unit: str
    reason: str
    frame: int | None = None
    warn_at: float | None = None
    fail_at: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """One inspected frame: its index and the ``value`` measured there, with the classic word for it."""

    frame: int
    value: float
    unit: str
    label: str


@dataclass(frozen=True)
class Series:
    """What one ``detector`` measured over time: ``values`` in ``unit`` at ``frames``, held against two limits.

    ``measure`` is its name in `Score.measures`. ``taken``: what of the values the limits are meant for, such as
    ``lowest`` or ``median``. ``is_floor``: beyond a limit means below it.
    """

    measure: str
    detector: str
    unit: str
    taken: str
    frames: tuple[int, ...]
    values: tuple[float, ...]
    warn_at: float | None = None
    fail_at: float | None = None
    is_floor: bool = False


@dataclass(frozen=True)
class Score:
    """A judge's whole answer. Callers rely on ``judge``, ``points``, ``findings`` and ``verdict`` alone.

    ``points``: 0..100, higher is better; ranks attempts, never decides. ``measures``: name -> number, for the reader.
    ``checkpoints``: what a contact sheet shows. ``series``: measures over time, for a reader who wants to see them; a
    run's report does without.
    """

    judge: str
    points: float
    label: str
    findings: tuple[Finding, ...]
    checkpoints: tuple[Checkpoint, ...] = ()
    measures: dict[str, float] = field(default_factory=dict)
    series: tuple[Series, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings; PASS when there is none."""
        return max((finding.verdict for finding in self.findings), default=Verdict.PASS)

    @property
    def worst(self) -> Finding | None:
        """The finding that decided, or None when nothing was found."""
        return max(self.findings, key=lambda finding: finding.verdict, default=None)

    def as_json(self) -> dict[str, Any]:
        """Return the score as JSON values, the verdict as a word."""
        return {
            "judge": self.judge,
            "verdict": self.verdict.word,
            "label": self.label,
            "points": round(self.points, 3),
            "measures": self.measures,
            "checkpoints": [vars(checkpoint) for checkpoint in self.checkpoints],
            "findings": [{**vars(finding), "verdict": finding.verdict.word} for finding in self.findings],
        }
