"""What came of one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_app.commands.judging.checklist import answers
from serve_app.commands.judging.files import shown
from serve_app.core.score import Score, Series


@dataclass(frozen=True)
class Shot:
    """A frame as a small JPEG: its index (None: of the reference) and why it is shown, as (detector, verdict)."""

    frame: int | None
    jpeg: bytes
    raised: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Judgement:
    """A file with its ``score``, or with the ``error`` (code, text) that says why there is none.

    ``kind``: what it is by its first bytes. ``facts``: size, and of a clip its frames, rate and seconds.
    """

    path: Path
    kind: str
    size_bytes: int
    facts: dict[str, Any] = field(default_factory=dict)
    score: Score | None = None
    error: tuple[str, str] | None = None
    warnings: tuple[str, ...] = ()
    shots: tuple[Shot, ...] = ()

    @property
    def name(self) -> str:
        """The path as text that any document can hold."""
        return shown(self.path)

    @property
    def word(self) -> str:
        """``pass``, ``warn``, ``fail``, ``reject``, or ``error``."""
        return "error" if self.score is None else self.score.verdict.word

    @property
    def reason(self) -> str:
        """Why, in one sentence; empty where all is well."""
        if self.error is not None:
            return self.error[1]
        worst = None if self.score is None else self.score.worst
        return worst.reason if worst is not None and worst.verdict else ""

    def as_json(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON values. ``size_bytes`` is evidence, and never raises a score."""
        error = None if self.error is None else {"code": self.error[0], "detail": self.error[1]}
        return {
            "file": self.name,
            "kind": self.kind,
            "size_bytes": self.size_bytes,
            **self.facts,
            "verdict": self.word,
            "reason": self.reason,
            "error": error,
            "warnings": list(self.warnings),
            "score": None if self.score is None else self.score.as_json(),
            "series": [] if self.score is None else [_series(each) for each in self.score.series],
            "checklist": answers(self.score, self.facts),
        }


def _series(series: Series) -> dict[str, Any]:
    return {**vars(series), "frames": list(series.frames), "values": list(series.values)}
