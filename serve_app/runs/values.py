"""Small values as JSON, so that a finished step survives a restart. A clip is not small: its seed makes it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve_app.core.adapter import Adapters
from serve_app.core.artifact import Artifact
from serve_app.core.score import Checkpoint, Finding, Score, Verdict
from serve_app.graph.plan import Plan
from serve_app.graph.record import Called, StepRecord


def to_json(called: Called) -> dict[str, Any]:
    """Return a finished step as JSON values. Of one whose value is too large to be kept, only the record remains."""
    match called.value:
        case Artifact() as artifact:
            return {"type": "artifact", "value": artifact.as_json(), "record": called.record.as_json()}
        case Score() as score:
            return {"type": "score", "value": score.as_json(), "record": called.record.as_json()}
        case Adapters() as adapters:
            return {"type": "adapters", "value": adapters.as_json(), "record": called.record.as_json()}
        case _:
            return {"type": "reference", "value": None, "record": called.record.as_json()}


def is_kept(document: dict[str, Any]) -> bool:
    """Whether the value itself was kept, and `from_json` can return it."""
    return bool(document["type"] != "reference")


def inputs_from_json(plan: Plan, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded run's inputs as the plan takes them: a picture's or video's artifact instead of its JSON."""
    uploads = {name for name, spec in plan.inputs.items() if spec.type in ("image", "clip")}
    return {
        name: Artifact.from_json(value) if name in uploads and value is not None else value
        for name, value in inputs.items()
    }


def inputs_to_json(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Undo ``inputs_from_json``."""
    return {name: value.as_json() if isinstance(value, Artifact) else value for name, value in inputs.items()}


def from_json(document: dict[str, Any]) -> Called:
    """Undo ``to_json``; raise ValueError for a value that was not kept (see ``is_kept``)."""
    record = StepRecord.from_json(document["record"])
    match document["type"]:
        case "artifact":
            return Called(Artifact.from_json(document["value"]), record)
        case "score":
            return Called(_score(document["value"]), record)
        case "adapters":
            return Called(Adapters.from_json(document["value"]), record)
        case kind:
            raise ValueError(f"of {record.node}, a {kind}, only the record was kept")


def _score(value: dict[str, Any]) -> Score:
    findings = (Finding(**{**each, "verdict": Verdict[each["verdict"].upper()]}) for each in value["findings"])
    return Score(
        judge=value["judge"],
        points=value["points"],
        label=value["label"],
        findings=tuple(findings),
        checkpoints=tuple(Checkpoint(**each) for each in value["checkpoints"]),
        measures=value["measures"],
    )
