"""What is counted of every run that ends: the metrics that the store keeps, so that no restart loses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serve_app.runs.ledger import per_accepted
from serve_app.runs.model import RunState
from serve_app.telemetry.metrics import Family, Labels

Tally = dict[tuple[str, Labels], float]
"""(a name of ``COUNTED``, the values of its labels) -> how much."""

COUNTED: Mapping[str, tuple[Labels, str]] = {
    "runs_ended": (("pipeline", "state"), "Runs that have ended, by their final state."),
    "run_errors": (("pipeline", "code"), "Runs that failed, by the code of their error; bad_adapter is an adapter's."),
    "queued_seconds": (("pipeline",), "Seconds that ended runs had waited in the queue."),
    "attempts": (("pipeline", "verdict"), "Attempts, by verdict; unfinished were cut short."),
    "attempt_seconds": (("pipeline",), "Seconds of attempts."),
    "rejections": (("pipeline", "detector"), "Attempts that a gate turned away, by the detector that said so."),
    "judgements": (("pipeline", "node"), "Clips and pictures that a judge has seen, by its node."),
    "judged_points": (
        ("pipeline", "node"),
        "Sum of the points, 0 to 100, that judges gave; over judgements: the mean.",
    ),
    "steps": (("pipeline", "deployment"), "Calls of steps, by deployment; cancelled and repeated ones too."),
    "step_seconds": (("pipeline", "deployment"), "Seconds of steps at work, by deployment."),
    "cost_usd": (("pipeline",), "USD of all attempts of runs whose whole cost is known."),
    "runs_without_cost": (("pipeline",), "Runs with something in them that has no price."),
    "accepted_clips": (("pipeline",), "Runs whose output a gate accepted."),
    "priced_clips": (("pipeline",), "Those of accepted_clips whose cost is known."),
}
"""Name -> (labels, meaning) of every counter that the store keeps."""


@dataclass(frozen=True)
class Figures:
    """The store's metrics at one moment: ``counted`` since its beginning, and what has not ended yet.

    ``unended``: (pipeline, state) -> runs. ``oldest_queued_s``: how long the oldest queued run waits; 0 without one.
    """

    counted: Tally
    unended: Mapping[Labels, float] = field(default_factory=dict)
    oldest_queued_s: float = 0.0
    runners: int = 0


@dataclass(frozen=True)
class Ended:
    """A run that ends, as it is recorded. ``queued_s``: from its record to its first runner, or to its end."""

    pipeline: str
    state: RunState
    queued_s: float
    report: Mapping[str, Any] | None
    error: Mapping[str, Any] | None


def tally_of(run: Ended) -> Tally:
    """Return what one ended run adds to the counters. A report that lacks something counts less; it never fails."""
    tally: Tally = {}
    own, report = (run.pipeline,), run.report or {}
    _add(tally, "runs_ended", 1, run.pipeline, run.state.value)
    _add(tally, "queued_seconds", run.queued_s, run.pipeline)
    if run.state is RunState.FAILED:
        _add(tally, "run_errors", 1, run.pipeline, str((run.error or {}).get("code")))
    for attempt in report.get("attempts") or []:
        _count_attempt(tally, run.pipeline, attempt)
    if "cost" in report:
        _count_cost(tally, own, report["cost"].get("usd"), bool(report.get("is_accepted")))
    return tally


def _add(tally: Tally, name: str, value: float, *labels: str) -> None:
    if value:
        tally[name, labels] = tally.get((name, labels), 0.0) + value


def _count_attempt(tally: Tally, pipeline: str, attempt: Mapping[str, Any]) -> None:
    _add(tally, "attempts", 1, pipeline, attempt.get("verdict") or "unfinished")
    _add(tally, "attempt_seconds", attempt.get("seconds", 0.0), pipeline)
    if attempt.get("rejection"):
        _add(tally, "rejections", 1, pipeline, attempt["rejection"]["detector"])
    for node, score in attempt.get("scores", {}).items():
        _add(tally, "judgements", 1, pipeline, node)
        _add(tally, "judged_points", score["points"], pipeline, node)
    for step in attempt.get("steps", ()):
        _add(tally, "steps", 1, pipeline, step["deployment"])
        _add(tally, "step_seconds", step["seconds"], pipeline, step["deployment"])


def _count_cost(tally: Tally, own: Labels, usd: float | None, is_accepted: bool) -> None:
    _add(tally, "accepted_clips", is_accepted, *own)
    if usd is None:
        _add(tally, "runs_without_cost", 1, *own)
    else:
        _add(tally, "cost_usd", usd, *own)
        _add(tally, "priced_clips", is_accepted, *own)


def families_of(figures: Figures) -> Iterable[Family]:
    """Yield the store's metrics. The cost per accepted clip is over runs whose cost is known, rejected ones too."""
    for name, (labels, meaning) in COUNTED.items():
        values = {key: value for (counted, key), value in figures.counted.items() if counted == name}
        yield Family(name, "counter", meaning, labels, values)
    costs = {key: value for (name, key), value in figures.counted.items() if name == "cost_usd"}
    headline = {
        key: per_accepted([usd], int(figures.counted.get(("priced_clips", key), 0))) for key, usd in costs.items()
    }
    known = {key: usd for key, usd in headline.items() if usd is not None}
    meaning = "USD per accepted clip, rejected attempts and runs included."
    yield Family("cost_usd_per_accepted_clip", "gauge", meaning, ("pipeline",), known)
    yield Family("runs", "gauge", "Runs that have not ended.", ("pipeline", "state"), figures.unended)
    oldest: dict[Labels, float] = {(): figures.oldest_queued_s}
    yield Family("oldest_queued_seconds", "gauge", "How long the oldest queued run waits.", (), oldest)
    yield Family("runners", "gauge", "Runners that were heard lately.", (), {(): figures.runners})
