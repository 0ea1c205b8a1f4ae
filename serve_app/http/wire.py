"""What travels over HTTP, as pydantic models: they are the OpenAPI document's schemas. Times are ISO 8601 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve_app.runs import outputs
from serve_app.runs.model import Event, Page, Run, RunState


class Said(BaseModel):
    """What we answer. Open, so that a report with more in it than this version knows is handed on whole."""

    model_config = ConfigDict(extra="allow", frozen=True)


class SubmissionBody(BaseModel):
    """What a caller asks for."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    pipeline: str = Field(max_length=200, description="The name of a pipeline; GET /v1/pipelines lists them.")
    inputs: dict[str, Any] = Field(
        default={},
        description="The pipeline's inputs by name. A picture is a data URL or base64; addresses are not fetched.",
    )
    policy: dict[str, Any] = Field(default={}, description="What to change in the pipeline's retry policy.")


class FieldError(BaseModel):
    """One fault in a request."""

    field: str
    reason: str


class Problem(BaseModel):
    """An RFC 9457 problem document, the body of every answer of 400 and above."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="`/problems/<code>`, where the problem is described, or `about:blank`.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable and machine-readable.")
    field: str | None = Field(default=None, description="Dotted path of the field at fault.")
    hint: str | None = Field(default=None, description="What to do about it.")
    run_id: str | None = None
    errors: list[FieldError] | None = Field(default=None, description="Every fault found, when there are several.")
    incident: str | None = Field(default=None, description="Names the log entry that says what happened inside.")
    facts: dict[str, Any] | None = Field(default=None, description="Readiness facts, where the problem is /readyz.")


class OutputFile(Said):
    """An output of a run and where to get it."""

    url: str
    media_type: str
    size_bytes: int
    digest: str = Field(description="sha256 of the bytes, 64 hex digits; also the ETag.")
    facts: dict[str, Any] = {}


class ArtifactList(Said):
    """A run's outputs by name, and those of each attempt as ``<output>@<attempt>``."""

    object: Literal["artifacts"] = "artifacts"
    run_id: str
    artifacts: dict[str, OutputFile]


class RunError(Said):
    """Why a run failed; shaped like a Problem."""

    code: str | None = None
    title: str | None = None
    status: int | None = None
    detail: str | None = None
    field: str | None = None
    hint: str | None = None


class RunLinks(BaseModel):
    """Where a run goes on."""

    self: str
    events: str
    cancel: str
    artifacts: str
    report: str | None = Field(description="The whole evidence as one JSON document; null before the run has ended.")


class VerdictView(Said):
    """The word on a whole run, and the finding that decided it."""

    word: str | None = Field(description="pass, warn, fail or reject; null when no attempt was judged.")
    detector: str | None = None
    frame: int | None = Field(default=None, description="Where it was worst; null for the whole clip.")
    value: float | None = None
    reason: str = ""


class RunView(BaseModel):
    """A run. ``attempts``, ``verdict``, ``scores``, ``cost`` and ``warnings`` come from its report, if any."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["run"] = "run"
    pipeline: str
    state: RunState
    is_cancel_requested: bool
    inputs: dict[str, Any] = Field(description="As given; a picture is its digest, media_type and size_bytes.")
    policy: dict[str, Any]
    seed_origin: str | None = Field(
        description="Who chose the first seed: caller, drawn, the pipeline's default, or `optimal: ` and what is known."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    verdict: VerdictView | None
    is_accepted: bool | None = Field(description="Whether a gate passed what is delivered; null before the end.")
    scores: dict[str, Any] = Field(description="What each judge said of the attempt that was delivered, by node.")
    attempts: list[Any]
    cost: dict[str, Any] | None
    warnings: list[Any]
    error: RunError | None
    artifacts: dict[str, OutputFile]
    links: RunLinks


class JudgementView(BaseModel):
    """What a judge said of a file: the run that asked it, and its ``score`` (null while it works)."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="The run's id.")
    object: Literal["judgement"] = "judgement"
    pipeline: str = Field(description="`judge-image` or `judge-video`: what the file is, by its first bytes.")
    state: RunState
    verdict: VerdictView | None
    score: dict[str, Any] | None = Field(description="Verdict, points, findings, checkpoints and measures.")
    warnings: list[Any]
    links: RunLinks


class RunList(BaseModel):
    """Some runs, newest first."""

    object: Literal["list"] = "list"
    runs: list[RunView]
    next_cursor: str | None = Field(description="Ask for older runs with it; null at the end.")


class EventView(BaseModel):
    """Something that happened to a run: one server-sent event, whose `id` is ``seq`` and whose `event` is ``kind``."""

    run_id: str
    seq: int
    at: datetime
    kind: str
    data: dict[str, Any]


class InputSpec(Said):
    """An input that a pipeline declares."""

    type: str
    required: bool = False
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    description: str | None = None
    aliases: list[str] = []


class PipelineView(Said):
    """A pipeline: what it takes, what it gives, and its steps."""

    name: str
    description: str = ""
    inputs: dict[str, InputSpec]
    outputs: Any = None
    policy: Any = None
    steps: list[Any] = []
    diagram: str | None = Field(default=None, description="Mermaid source.")


class PipelineList(BaseModel):
    """Every pipeline that is served."""

    object: Literal["list"] = "list"
    pipelines: list[PipelineView]


class ProblemType(BaseModel):
    """What a problem code means."""

    code: str
    title: str
    status: int
    description: str
    hint: str


def from_run(run: Run, base: str = "") -> RunView:
    """Return ``run`` as it travels; ``base`` goes before every path in it (the prefix the API is mounted at)."""
    report = run.report or {}
    here = f"{base}/v1/runs/{run.id}"
    return RunView(
        id=run.id,
        pipeline=run.pipeline,
        state=run.state,
        is_cancel_requested=run.is_cancel_requested,
        inputs={name: _brief(value) for name, value in run.inputs.items()},
        policy=run.policy,
        seed_origin=run.seed_origin,
        created_at=_time(run.created_s),
        started_at=None if run.started_s is None else _time(run.started_s),
        finished_at=None if run.finished_s is None else _time(run.finished_s),
        verdict=report.get("verdict"),
        is_accepted=report.get("is_accepted"),
        scores=report.get("scores") or {},
        attempts=[_without(attempt, "steps") for attempt in report.get("attempts") or []],
        cost=_without(report.get("cost"), "by_step"),
        warnings=report.get("warnings") or [],
        error=None if run.error is None else RunError.model_validate(run.error),
        artifacts=outputs_of(run, base),
        links=RunLinks(
            self=here,
            events=f"{here}/events",
            cancel=f"{here}/cancel",
            artifacts=f"{here}/artifacts",
            report=f"{here}/artifacts/report.json" if report else None,
        ),
    )


def from_judgement(run: Run, base: str = "") -> JudgementView:
    """Return the run of a judging pipeline as what it was asked for."""
    view = from_run(run, base)
    return JudgementView(
        id=view.id,
        pipeline=view.pipeline,
        state=view.state,
        verdict=view.verdict,
        score=view.scores.get("judge"),
        warnings=view.warnings,
        links=view.links,
    )


def outputs_of(run: Run, base: str = "") -> dict[str, OutputFile]:
    """Return what ``run`` left, by name: its outputs, or of a rejected one the evidence; nothing before its report."""
    return _files(run, base, outputs.of_run(run.report))


def every_output_of(run: Run, base: str = "") -> dict[str, OutputFile]:
    """Return what ``run`` left, and what each of its attempts left, as ``<output>@<attempt>``."""
    return _files(run, base, {**outputs.of_run(run.report), **outputs.of_attempts(run.report)})


def _files(run: Run, base: str, found: dict[str, dict[str, Any]]) -> dict[str, OutputFile]:
    return {
        name: OutputFile(
            url=f"{base}/v1/runs/{run.id}/artifacts/{name}",
            media_type=artifact["media_type"],
            size_bytes=artifact["size_bytes"],
            digest=artifact["digest"],
            facts=artifact.get("facts") or {},
        )
        for name, artifact in found.items()
    }


def from_page(page: Page, base: str = "") -> RunList:
    """Return ``page`` as it travels."""
    return RunList(runs=[from_run(run, base) for run in page.runs], next_cursor=page.next_cursor)


def from_event(event: Event) -> EventView:
    """Return ``event`` as it travels."""
    return EventView(run_id=event.run_id, seq=event.seq, at=_time(event.at_s), kind=event.kind, data=event.data)


def _brief(value: Any) -> Any:
    """Name a picture by what identifies it; its file name was the caller's affair and stays out of a listing."""
    if isinstance(value, dict) and "digest" in value and "media_type" in value:
        return {key: value[key] for key in ("digest", "media_type", "size_bytes") if key in value}
    return value


def _without(value: Any, *names: str) -> Any:
    """Leave out what only the report shows, at every depth: a list of runs would be megabytes of steps."""
    if not isinstance(value, dict):
        return value
    return {key: _without(each, "by_step") for key, each in value.items() if key not in names}


def _time(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
