"""The report: verdict, evidence, parameters in effect, times and cost of every attempt, as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from serve_app.core.artifact import Artifact
from serve_app.core.score import Score, Verdict
from serve_app.graph.plan import Plan
from serve_app.graph.record import StepRecord
from serve_app.runs.attempt import Attempt, Result
from serve_app.runs.ledger import Prices, cost_of, per_accepted, usage_of
from serve_app.runs.model import Run, RunState
from serve_app.runs.targets import missed

_FINDING = ("detector", "frame", "value", "reason")
_VERSIONS = ("greenlight-serve", "ray", "torch", "diffusers", "opencv-python-headless", "av")


@dataclass(frozen=True)
class Reporter:
    """Writes reports with one price table."""

    plans: Mapping[str, Plan]
    prices: Prices

    def report(self, run: Run, state: RunState, result: Result) -> dict[str, Any]:
        """Return the report of a run that ends in ``state``. Every attempt is in it, delivered or not."""
        delivered = result.delivered
        plan = self.plans.get(run.pipeline)
        cost = self._cost(result.attempts)
        cost["usd_per_accepted_clip"] = per_accepted([cost["usd"]], int(result.is_accepted))
        timings = _timings(run, result)
        return {
            "run": run.id,
            "pipeline": run.pipeline,
            "state": state.value,
            "verdict": _verdict(result),
            "inputs": run.inputs,
            "policy": run.policy,
            "scores": {} if delivered is None else _scores(delivered),
            "outputs": {} if delivered is None else _outputs(delivered, plan),
            "evidence": {} if result.judged is None else _outputs(result.judged, plan),
            "delivered_attempt": None if delivered is None else delivered.number,
            "is_accepted": result.is_accepted,
            "first_frame_replaced": any(_was_replaced(record) for record in _records(delivered)),
            "undelivered": result.undelivered,
            "attempts": [self._attempt(attempt, plan) for attempt in result.attempts],
            "cost": cost,
            "timings": timings,
            "warnings": _warnings(result, missed(run.policy, cost["usd"], timings["attempts_s"])),
            "versions": versions(),
        }

    def _attempt(self, attempt: Attempt, plan: Plan | None) -> dict[str, Any]:
        return {
            "number": attempt.number,
            "seed": attempt.seed,
            "verdict": _attempt_verdict(attempt).word if attempt.is_finished else None,
            "is_finished": attempt.is_finished,
            "rejection": attempt.rejection,
            "seconds": round(attempt.seconds, 4),
            "scores": _scores(attempt),
            "outputs": _outputs(attempt, plan),
            "cost": self._cost([attempt]),
            "steps": [{**record.as_json(), "cost_usd": self._usd(record)} for record in attempt.records],
        }

    def _usd(self, record: StepRecord) -> float | None:
        return cost_of([usage_of(record)], self.prices).usd

    def _cost(self, attempts: Sequence[Attempt]) -> dict[str, Any]:
        usages = [usage_of(record, attempt.number) for attempt in attempts for record in attempt.records]
        return cost_of(usages, self.prices).as_json()


def _records(attempt: Attempt | None) -> tuple[StepRecord, ...]:
    return () if attempt is None else attempt.records


def _was_replaced(record: StepRecord) -> bool:
    return bool(record.notes.get("first_frame_replaced"))


def _scores(attempt: Attempt) -> dict[str, Any]:
    return {node: value.as_json() for node, value in attempt.values.items() if isinstance(value, Score)}


def _outputs(attempt: Attempt, plan: Plan | None) -> dict[str, Any]:
    """The artifacts under their public names, which are the pipeline's outputs."""
    names = {} if plan is None else plan.outputs
    made = {name: attempt.values.get(node) for name, node in names.items()}
    return {name: value.as_json() for name, value in made.items() if isinstance(value, Artifact)}


def _attempt_verdict(attempt: Attempt) -> Verdict:
    """A rejected attempt is at least FAIL whatever its scores say: its gate may be stricter than its judge."""
    verdicts = [value.verdict for value in attempt.values.values() if isinstance(value, Score)]
    worst = max(verdicts, default=Verdict.PASS)
    return worst if attempt.rejection is None else max(worst, Verdict.FAIL)


def _verdict(result: Result) -> dict[str, Any]:
    """The word on the whole run, with the finding that decided it; that of a run cut short is the last one it got."""
    shown = result.delivered or result.judged
    if shown is None:
        return {"word": None, "detector": None, "frame": None, "value": None, "reason": "no attempt was judged"}
    word = _attempt_verdict(shown).word
    if shown.rejection is not None:
        return {"word": word, **{name: shown.rejection[name] for name in _FINDING}}
    scores = [value for value in shown.values.values() if isinstance(value, Score)]
    worst = max(scores, key=lambda score: score.verdict, default=None)
    finding = None if worst is None else worst.worst
    if finding is None or finding.verdict is Verdict.PASS:
        count = sum(len(score.findings) for score in scores)
        reason = f"nothing to object to (checks: {count}, judgements: {len(scores)})"
        return {"word": word, "detector": None, "frame": None, "value": None, "reason": reason}
    facts = {"detector": finding.detector, "frame": finding.frame, "value": finding.value, "reason": finding.reason}
    return {"word": word, **facts}


def _timings(run: Run, result: Result) -> dict[str, Any]:
    """Seconds: in the queue, in all attempts, and in each step of each (`2.draft`), twice counted if done twice."""
    started_s = run.started_s or run.created_s
    steps_s: dict[str, float] = {}
    for attempt in result.attempts:
        for record in attempt.records:
            key = f"{attempt.number}.{record.node}"
            steps_s[key] = round(steps_s.get(key, 0.0) + record.seconds, 4)
    return {
        "queued_s": round(started_s - run.created_s, 4),
        "attempts_s": round(sum(attempt.seconds for attempt in result.attempts), 4),
        "steps_s": steps_s,
    }


def _warnings(result: Result, of_the_run: Sequence[str]) -> list[dict[str, Any]]:
    """Each thing that a stage wanted said, once, with the node that said it; then what is to be said of the run."""
    said: dict[tuple[str | None, str], None] = {}
    for attempt in result.attempts:
        for record in attempt.records:
            said.update(dict.fromkeys((record.node, message) for message in record.warnings))
    whole = [] if result.undelivered is None else [result.undelivered]
    said.update(dict.fromkeys((None, message) for message in (*whole, *of_the_run)))
    return [{"node": node, "message": message} for node, message in said]


def versions() -> dict[str, str]:
    """Return the versions of what took part, as installed beside the runner."""
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
