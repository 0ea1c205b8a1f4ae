"""A small real Service: runs in a dict, files in a directory, and a hand for the tests to move a run along."""

from __future__ import annotations

import dataclasses
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from serve_app.core import digest
from serve_app.core.artifact import Artifact
from serve_app.core.errors import Busy, Conflict, InvalidInput, Unknown
from serve_app.graph.plan import Plan
from serve_app.graph.spec import RunPolicy
from serve_app.http.service import Cards, Events, Limits, ListQuery, Submission, Sweeps, Upload
from serve_app.runs.model import Event, Page, Run, RunRequest, RunState, new_run_id, request_digest
from serve_app.runs.sql import SqlRunStore
from serve_app.runs.tally import Figures
from serve_app.serving.sweeps import SweepService
from tests.graph.stages import bright

PIPELINES: list[dict[str, Any]] = [
    {
        "name": "animate",
        "description": "A clip from a picture.",
        "inputs": {
            "prompt": {"type": "text", "required": True, "description": "What to see."},
            "seed": {"type": "seed", "required": False, "default": 7, "minimum": 0},
            "frames": {"type": "integer", "required": False, "default": 9, "aliases": ["num_frames", "length"]},
            "strength": {"type": "number", "required": False, "default": 0.5, "minimum": 0.0, "maximum": 1.0},
            "loop": {"type": "boolean", "required": False, "default": False},
            "image": {"type": "image", "required": False},
            "clip": {"type": "clip", "required": False},
        },
        "outputs": {"video": "encode"},
        "policy": {"attempts": 3},
        "steps": [{"node": "draft", "use": "generate.animatic", "params": {}}],
        "diagram": "graph LR; draft-->encode",
    }
]


def _all_priced(_plan: Plan, _policy: RunPolicy) -> None:
    """Find a price for everything."""


class DeskService:
    """Keeps everything in memory; what a test sets up, the API shows."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.limits = limits
        self.folder = folder
        self.runs: dict[str, Run] = {}
        self.requests: dict[str, str] = {}
        self.submissions: list[Submission] = []
        self.happened: dict[str, list[Event]] = {}
        self.files: dict[str, Artifact] = {}
        self.looks = 0
        self.cards: list[dict[str, Any]] = []
        self.models_said: list[dict[str, Any]] = []
        self.served = PIPELINES
        self.most_queued = 100
        self.counted = Figures({})
        self.facts: dict[str, Any] = {"is_ready": True, "runners": 1}
        self.fault: Exception | None = None
        self.ends_at_once = False

    @cached_property
    def sweeps(self) -> Sweeps:
        """The real sweeps of one small pipeline, which no runner works on."""

        async def keep(_field: str, value: Any, _is_film: bool) -> Any:
            return value

        plan = bright()
        return SweepService(
            SqlRunStore(f"sqlite:///{self.folder / 'sweeps.db'}"), {plan.name: plan}, {}, keep, _all_priced
        )

    def pipelines(self) -> list[dict[str, Any]]:
        return self.served

    async def adapters(self) -> Cards:
        return self.cards

    async def models(self) -> Cards:
        return self.models_said

    async def submit(self, run_id: str | None, submission: Submission) -> tuple[Run, bool]:
        self._stumble()
        inputs = {name: self._kept(value) for name, value in submission.inputs.items()}
        request = RunRequest(run_id or new_run_id(), submission.pipeline, inputs, dict(submission.policy))
        if request.id in self.runs:
            if self.requests[request.id] != request_digest(request):
                raise Conflict(f"the run {request.id} was asked for with another body")
            return self.runs[request.id], False
        queued = sum(run.state is RunState.QUEUED for run in self.runs.values())
        if queued >= self.most_queued:
            raise Busy(queued, self.most_queued, 17)
        if submission.inputs.get("frames") == 8:
            raise InvalidInput("inputs.frames", "8 is not 8k+1; the nearest are 1 and 9")
        self.submissions.append(submission)
        self.requests[request.id] = request_digest(request)
        self._record(request)
        return self.runs[request.id], True

    async def get(self, run_id: str) -> Run:
        self._stumble()
        self.looks += 1
        if run_id not in self.runs:
            raise Unknown("run", run_id, tuple(self.runs))
        return self.runs[run_id]

    async def list(self, query: ListQuery) -> Page:
        runs = [run for run in reversed(self.runs.values()) if query.state in (None, run.state)]
        runs = [run for run in runs if query.pipeline in (None, run.pipeline)]
        start = 0 if query.cursor is None else self._position(query.cursor)
        following = start + query.limit
        return Page(tuple(runs[start:following]), str(following) if following < len(runs) else None)

    async def cancel(self, run_id: str) -> Run:
        run = await self.get(run_id)
        if run.state is RunState.QUEUED:
            self.end(run_id, RunState.CANCELLED)
        elif not run.state.is_final:
            self._change(run_id, is_cancel_requested=True)
        return self.runs[run_id]

    async def events(self, run_id: str, after: int, limit: int) -> Events:
        await self.get(run_id)
        return [event for event in self.happened[run_id] if event.seq > after][:limit]

    async def artifact(self, run_id: str, name: str) -> tuple[Artifact, Path]:
        run = await self.get(run_id)
        outputs = (run.report or {}).get("outputs", {})
        if name not in outputs:
            raise Unknown("artifact", name, tuple(outputs))
        return Artifact.from_json(outputs[name]), self.folder / outputs[name]["digest"]

    async def figures(self) -> Figures:
        self._stumble()
        return self.counted

    async def health(self) -> dict[str, Any]:
        self._stumble()
        return self.facts

    def begin(self, run_id: str) -> None:
        """Have a runner take the run up."""
        self._change(run_id, state=RunState.RUNNING, started_s=time.time())
        self.say(run_id, "running", {})

    def say(self, run_id: str, kind: str, data: dict[str, Any]) -> None:
        """Add an event."""
        seq = self.runs[run_id].last_seq + 1
        self.happened[run_id].append(Event(run_id, seq, time.time(), kind, data))
        self._change(run_id, last_seq=seq)

    def end(self, run_id: str, state: RunState, report: dict[str, Any] | None = None) -> None:
        """End the run together with its last event, as the store does in one transaction."""
        seq = self.runs[run_id].last_seq + 1
        self.happened[run_id].append(Event(run_id, seq, time.time(), state.value, {}))
        self._change(run_id, state=state, finished_s=time.time(), report=report, last_seq=seq)

    def keep(self, data: bytes, media_type: str, name: str) -> dict[str, Any]:
        """Put a file where `artifact` finds it, and return its artifact as a report holds it."""
        artifact = Artifact(digest.of_bytes(data), media_type, len(data), name, {"fps": "24"})
        (self.folder / artifact.digest).write_bytes(data)
        return artifact.as_json()

    def _record(self, request: RunRequest) -> None:
        self.runs[request.id] = Run(
            id=request.id,
            pipeline=request.pipeline,
            inputs=request.inputs,
            policy=request.policy,
            state=RunState.QUEUED,
            created_s=time.time(),
            started_s=None,
            finished_s=None,
            claims=0,
            owner=None,
            is_cancel_requested=False,
            error=None,
            report=None,
            last_seq=0,
        )
        self.happened[request.id] = []
        self.say(request.id, "queued", {})
        if self.ends_at_once:
            self.end(request.id, RunState.SUCCEEDED)

    def _kept(self, value: Any) -> Any:
        if isinstance(value, Upload):
            return self.keep(value.data, "image/png", value.filename or "upload.png")
        return value

    def _change(self, run_id: str, **changes: Any) -> None:
        self.runs[run_id] = dataclasses.replace(self.runs[run_id], **changes)

    def _position(self, cursor: str) -> int:
        if not cursor.isdecimal():
            raise InvalidInput("cursor", f"{cursor!r} is no cursor of ours")
        return int(cursor)

    def _stumble(self) -> None:
        if self.fault is not None:
            raise self.fault
