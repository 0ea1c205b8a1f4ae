"""Several judges' scores as one, so that a gate can take them all: a learned metric beside the judge of this house."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from serve_app.core.score import Checkpoint, Finding, Score, Series, Verdict
from serve_app.core.stage import Context, Strict

_CAPS = {Verdict.PASS: 100.0, Verdict.WARN: 74.0, Verdict.FAIL: 49.0, Verdict.REJECT: 20.0}
_LABELS = {Verdict.WARN: "WARN", Verdict.FAIL: "FAIL", Verdict.REJECT: "REJECT"}

Seat = Literal["score", "second", "third", "fourth"]


class Panel:
    """Merges two to four scores (`judge.panel`).

    ``findings`` are everybody's, in the order of the ports; so the verdict is the worst, and of equals the first to say
    so is named. Points are the least of all, at most 74 on a warning, 49 on a failure, 20 on a rejection. ``measures``
    are named ``<judge>.<measure>``, and ``<judge>.points``; a judge that sits twice is ``<judge>_2`` there. Checkpoints
    are those of the first judge that has any, plots over time those of all.
    """

    is_cpu_only = True

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """``advisory``: the ports whose judges may only warn: what they fail or reject counts as a warning, and their
        points do not count. For a metric that is new, and whose false alarms nobody has counted yet."""

        advisory: tuple[Seat, ...] = ()

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(
        self, params: Params, *, score: Score, second: Score, third: Score | None = None, fourth: Score | None = None
    ) -> Score:
        """Return one score. An ``advisory`` port that is not connected is warned of."""
        seats: dict[Seat, Score | None] = {"score": score, "second": second, "third": third, "fourth": fourth}
        for seat in params.advisory:
            if seats[seat] is None:
                self._context.warn(f"advisory names {seat}, to which nothing is connected")
        given = {seat: one for seat, one in seats.items() if one is not None}
        findings = [
            _milder(found) if seat in params.advisory else found
            for seat, one in given.items()
            for found in one.findings
        ]
        verdict = max((found.verdict for found in findings), default=Verdict.PASS)
        deciding = [one.points for seat, one in given.items() if seat not in params.advisory]
        points = min([_CAPS[verdict], *(deciding or [one.points for one in given.values()])])
        scores = list(given.values())
        label = _LABELS.get(verdict, scores[0].label)
        return Score("panel", points, label, tuple(findings), _checkpoints(scores), _measures(scores), _series(scores))


def _milder(found: Finding) -> Finding:
    return replace(found, verdict=min(found.verdict, Verdict.WARN))


def _checkpoints(scores: list[Score]) -> tuple[Checkpoint, ...]:
    return next((one.checkpoints for one in scores if one.checkpoints), ())


def _names(scores: list[Score]) -> list[str]:
    """Return what each judge's measures are called after."""
    times = [sum(other.judge == one.judge for other in scores[: index + 1]) for index, one in enumerate(scores)]
    return [one.judge if count == 1 else f"{one.judge}_{count}" for one, count in zip(scores, times, strict=True)]


def _measures(scores: list[Score]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, one in zip(_names(scores), scores, strict=True):
        found[f"{name}.points"] = one.points
        found |= {f"{name}.{measure}": value for measure, value in one.measures.items()}
    return found


def _series(scores: list[Score]) -> tuple[Series, ...]:
    named = zip(_names(scores), scores, strict=True)
    return tuple(replace(each, measure=f"{name}.{each.measure}") for name, one in named for each in one.series)
