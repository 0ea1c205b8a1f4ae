"""The service behind the HTTP API: admission on one side, the store on the other. Tested without Ray: it has none."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve_app.config import AppConfig
from serve_app.core.artifact import Artifact, ArtifactStore
from serve_app.core.errors import Conflict, InvalidInput, TooLarge, Unknown
from serve_app.core.picture import media_type_of, read_picture
from serve_app.graph.draw import mermaid
from serve_app.graph.plan import Plan
from serve_app.graph.spec import RunPolicy
from serve_app.http.service import ListQuery, Submission, Upload
from serve_app.runs.model import Event, Page, Run, RunRequest, RunState, check_run_id, new_run_id
from serve_app.runs.queue import RUNNER
from serve_app.runs.store import RunStore
from serve_app.runs.values import inputs_to_json
from serve_app.serving.stores import http_limits

REPORT = "report.json"
"""The name under which a finished run's report is an artifact."""


class RunService:
    """Implements `http.service.Service` on a run store, an artifact store and the compiled plans."""

    def __init__(self, store: RunStore, artifacts: ArtifactStore, plans: Mapping[str, Plan], config: AppConfig) -> None:
        self._store, self._artifacts, self._plans, self._config = store, artifacts, plans, config
        self.limits = http_limits(config)

    def pipelines(self) -> list[dict[str, Any]]:
        """See `Service.pipelines`."""
        return [describe(plan) for plan in self._plans.values()]

    async def submit(self, run_id: str | None, submission: Submission) -> tuple[Run, bool]:
        """See `Service.submit`. All that can be refused is refused here, before anything is recorded or spent."""
        run_id = new_run_id() if run_id is None else check_run_id(run_id)
        plan = self._plans.get(submission.pipeline)
        if plan is None:
            raise Unknown("pipeline", submission.pipeline, list(self._plans))
        policy = _policy(plan, submission.policy)
        plan.check_policy(policy)
        given = {name: await self._take(name, value) for name, value in submission.inputs.items()}
        bound = plan.bind({**_drawn_seed(plan, run_id, given), **given})
        request = RunRequest(run_id, plan.name, inputs_to_json(bound.inputs), policy.model_dump(mode="json"))
        return await asyncio.to_thread(self._store.add, request, self._config.limits.queued_runs)

    async def _take(self, name: str, value: Any) -> Any:
        """A picture is decoded once to be sure that it can be, and stored as it was sent."""
        if isinstance(value, Upload):
            return await asyncio.to_thread(self._store_picture, f"inputs.{name}", value)
        return value

    def _store_picture(self, field: str, upload: Upload) -> Artifact:
        if len(upload.data) > self._config.limits.upload_bytes:
            raise TooLarge(field, f"{len(upload.data)} bytes, and the limit is {self._config.limits.upload_bytes}")
        picture = read_picture(upload.data, max_px=self._config.limits.picture_px, field=field)
        media_type = media_type_of(upload.data)
        facts = {"width": picture.width, "height": picture.height}
        return self._artifacts.put_bytes(upload.data, media_type, f"upload.{media_type.split('/')[1]}", facts)

    async def get(self, run_id: str) -> Run:
        """See `Service.get`."""
        return await asyncio.to_thread(self._store.get, run_id)

    async def events(self, run_id: str, after: int, limit: int) -> list[Event]:
        """See `Service.events`."""
        return await asyncio.to_thread(self._store.events, run_id, after, limit)

    async def list(self, query: ListQuery) -> Page:
        """See `Service.list`."""
        return await asyncio.to_thread(self._store.list, query.limit, query.cursor, query.state, query.pipeline)

    async def cancel(self, run_id: str) -> Run:
        """See `Service.cancel`."""
        run = await asyncio.to_thread(self._store.cancel, run_id)
        if run.state.is_final and run.state is not RunState.CANCELLED:
            raise Conflict(f"the run has ended as {run.state}")
        return run

    async def artifact(self, run_id: str, name: str) -> tuple[Artifact, Path]:
        """See `Service.artifact`. ``name`` is an output's name or its file's; rejected runs show their evidence."""
        run = await self.get(run_id)
        report = run.report or {}
        found = {**report.get("evidence", {}), **report.get("outputs", {})}
        if name == REPORT and run.report is not None:
            artifact = await asyncio.to_thread(self._report_artifact, run.report)
        else:
            known = {output: Artifact.from_json(value) for output, value in found.items()}
            known = {**{artifact.name: artifact for artifact in known.values()}, **known}
            if name not in known:
                raise Unknown("artifact", name, [*known, REPORT])
            artifact = known[name]
        return artifact, await asyncio.to_thread(self._artifacts.path_of, artifact.digest)

    def _report_artifact(self, report: dict[str, Any]) -> Artifact:
        text = json.dumps(report, indent=2, ensure_ascii=False).encode()
        return self._artifacts.put_bytes(text, "application/json", REPORT, {})

    async def health(self) -> dict[str, Any]:
        """See `Service.health`: ready means that the store answers and a runner has lately been heard."""
        within_s = 2 * self._config.queue.lease_s
        runners = await asyncio.to_thread(self._store.alive, RUNNER, within_s)
        counts = await asyncio.to_thread(self._store.counts)
        runs = {state.value: count for state, count in counts.items()}
        reasons = [] if runners else ["no runner has given a heartbeat yet"]
        return {"is_ready": bool(runners), "runners": runners, "runs": runs, "reasons": reasons}


def _policy(plan: Plan, given: Mapping[str, Any]) -> RunPolicy:
    """The pipeline's policy with the request's changes; raises InvalidInput naming `policy.<name>`."""
    try:
        return RunPolicy.model_validate({**plan.policy.model_dump(), **given}, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(".".join(["policy", *map(str, first["loc"])]), first["msg"]) from error


def _drawn_seed(plan: Plan, run_id: str, given: Mapping[str, Any]) -> dict[str, int]:
    """Draw a seed for a request without one: 32 bits of the run id's sha256, so that a repeated PUT draws the same."""
    name = plan.seed_input
    if name is None or plan.inputs[name].default is not None:
        return {}
    if any(given.get(key) is not None for key in (name, *plan.inputs[name].aliases)):
        return {}
    return {name: int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:4], "big")}


def describe(plan: Plan) -> dict[str, Any]:
    """Return a plan as the API shows it."""
    inputs = {
        name: {**spec.model_dump(mode="json", exclude={"optional"}), "required": spec.is_required}
        for name, spec in plan.inputs.items()
    }
    steps = [{"node": s.node, "use": s.deployment.name, "params": dict(s.params)} for s in plan.steps]
    return {
        "name": plan.name,
        "description": plan.description,
        "inputs": inputs,
        "outputs": list(plan.outputs),
        "policy": plan.policy.model_dump(mode="json"),
        "steps": steps,
        "diagram": mermaid(plan),
    }
