"""The service behind the HTTP API: admission on one side, the store on the other. Tested without Ray: it has none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from serve_app.config import AppConfig, seeds_of
from serve_app.core.artifact import Artifact, ArtifactStore
from serve_app.core.errors import Conflict, TooLarge, Unknown
from serve_app.core.footage import Bounds, check_clip
from serve_app.core.picture import media_type_of, read_picture
from serve_app.graph.draw import mermaid
from serve_app.graph.plan import Plan, Step
from serve_app.graph.spec import RunPolicy
from serve_app.http.service import Cards, ListQuery, Submission, Sweeps, Upload
from serve_app.runs import outputs
from serve_app.runs.model import Event, Page, Run, RunRequest, RunState, check_run_id, new_run_id
from serve_app.runs.priced import Holdings, check_priced, nothing_known
from serve_app.runs.queue import RUNNER
from serve_app.runs.store import RunStore
from serve_app.runs.tally import Figures
from serve_app.runs.values import inputs_to_json
from serve_app.serving.adapters import admit, cards_of
from serve_app.serving.models import Roll
from serve_app.serving.policy import policy_of
from serve_app.serving.seeds import CALLER, Seeding, seeding
from serve_app.serving.stores import http_limits
from serve_app.serving.sweeps import SweepService

REPORT = "report.json"
"""The name under which a finished run's report is an artifact."""


class RunService:
    """Implements `http.service.Service` on a run store, an artifact store and the compiled plans."""

    def __init__(
        self,
        store: RunStore,
        artifacts: ArtifactStore,
        plans: Mapping[str, Plan],
        config: AppConfig,
        holdings: Holdings = nothing_known,
        roll: Roll | None = None,
    ) -> None:
        self._roll = roll or Roll(config, plans)
        self._store, self._artifacts, self._plans, self._config = store, artifacts, plans, config
        self._holdings = holdings
        self.limits, self._seeds = http_limits(config), seeds_of(config)
        self.sweeps: Sweeps = SweepService(store, plans, self._seeds, self._take, self._check_priced)

    def pipelines(self) -> list[dict[str, Any]]:
        """See `Service.pipelines`."""
        return [describe(plan) for plan in self._plans.values()]

    async def adapters(self) -> Cards:
        """See `Service.adapters`."""
        return await asyncio.to_thread(cards_of, self._config)

    async def models(self) -> Cards:
        """See `Service.models`."""
        return await self._roll.call()

    async def submit(self, run_id: str | None, submission: Submission) -> tuple[Run, bool]:
        """See `Service.submit`. All that can be refused is refused here, before anything is recorded or spent."""
        known = None if run_id is None else await asyncio.to_thread(self._known, check_run_id(run_id))
        run_id = run_id or new_run_id()
        plan = self._plans.get(submission.pipeline)
        if plan is None:
            raise Unknown("pipeline", submission.pipeline, list(self._plans))
        policy = policy_of(plan, submission.policy)
        plan.check_policy(policy)
        if known is None:  # a repetition was admitted when it was new; what has changed since does not undo that
            await asyncio.to_thread(self._check_priced, plan, policy)
        films = {each for name, spec in plan.inputs.items() if spec.type == "clip" for each in (name, *spec.aliases)}
        given = {n: await self._take(f"inputs.{n}", value, n in films) for n, value in submission.inputs.items()}
        seed = seeding(plan, run_id, given, self._seeds, submission.address)
        if known is not None and seed.origin != CALLER:  # the table may have changed since the same run was asked for
            seed = _as_recorded(known, plan, seed)
        bound = plan.bind({**seed.inputs, **given})
        if known is None:
            await asyncio.to_thread(admit, bound)
        inputs, said = inputs_to_json(bound.inputs), policy.model_dump(mode="json")
        request = RunRequest(run_id, plan.name, inputs, said, seed_origin=seed.origin)
        return await asyncio.to_thread(self._store.add, request, self._config.limits.queued_runs)

    def _check_priced(self, plan: Plan, policy: RunPolicy) -> None:
        check_priced(plan, policy, self._config.prices, self._holdings)

    async def _take(self, field: str, value: Any, is_film: bool = False) -> Any:
        """A picture is decoded once to be sure that it can be, a video's header is read; both are stored as sent."""
        if not isinstance(value, Upload):
            return value
        limits = self._config.limits
        if len(value.data) > limits.upload_bytes:
            raise TooLarge(field, f"{len(value.data)} bytes, and the limit is {limits.upload_bytes}")
        return await asyncio.to_thread(self._store_clip if is_film else self._store_picture, field, value)

    def _store_clip(self, field: str, upload: Upload) -> Artifact:
        limits = self._config.limits
        kind = check_clip(upload.data, Bounds(limits.picture_px, limits.clip_bytes), field)
        return self._artifacts.put_bytes(upload.data, kind.media_type, f"upload{kind.suffixes[0]}", {})

    def _store_picture(self, field: str, upload: Upload) -> Artifact:
        picture = read_picture(upload.data, max_px=self._config.limits.picture_px, field=field)
        media_type = media_type_of(upload.data)
        facts = {"width": picture.width, "height": picture.height}
        return self._artifacts.put_bytes(upload.data, media_type, f"upload.{media_type.split('/')[1]}", facts)

    def _known(self, run_id: str) -> Run | None:
        try:
            return self._store.get(run_id)
        except Unknown:
            return None

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
        """See `Service.artifact`. ``name`` is an output's name, perhaps `@` an attempt, or its file's name."""
        run = await self.get(run_id)
        if name == REPORT and run.report is not None:
            artifact = await asyncio.to_thread(self._report_artifact, run.report)
        else:
            own = {output: Artifact.from_json(value) for output, value in outputs.of_run(run.report).items()}
            of_attempts = {each: Artifact.from_json(value) for each, value in outputs.of_attempts(run.report).items()}
            known = {**{artifact.name: artifact for artifact in own.values()}, **of_attempts, **own}
            if name not in known:
                raise Unknown("artifact", name, [*known, REPORT])
            artifact = known[name]
        return artifact, await asyncio.to_thread(self._artifacts.path_of, artifact.digest)

    def _report_artifact(self, report: dict[str, Any]) -> Artifact:
        text = json.dumps(report, indent=2, ensure_ascii=False).encode()
        return self._artifacts.put_bytes(text, "application/json", REPORT, {})

    async def figures(self) -> Figures:
        """See `Service.figures`."""
        within_s = 2 * self._config.queue.lease_s
        runners = await asyncio.to_thread(self._store.alive, RUNNER, within_s)
        return replace(await asyncio.to_thread(self._store.figures), runners=runners)

    async def health(self) -> dict[str, Any]:
        """See `Service.health`: ready means that the store answers and a runner has lately been heard."""
        within_s = 2 * self._config.queue.lease_s
        runners = await asyncio.to_thread(self._store.alive, RUNNER, within_s)
        counts = await asyncio.to_thread(self._store.counts)
        runs = {state.value: count for state, count in counts.items()}
        reasons = [] if runners else ["no runner has given a heartbeat yet"]
        return {"is_ready": bool(runners), "runners": runners, "runs": runs, "reasons": reasons}


def _as_recorded(known: Run, plan: Plan, seed: Seeding) -> Seeding:
    if known.seed_origin == CALLER:
        return seed  # that one was asked for with its seed, which makes it another request
    inputs = {name: known.inputs[name] for name in [plan.seed_input] if name is not None and name in known.inputs}
    return Seeding({**seed.inputs, **inputs}, known.seed_origin)


def describe(plan: Plan) -> dict[str, Any]:
    """Return a plan as the API shows it."""
    inputs = {
        name: {**spec.model_dump(mode="json", exclude={"optional"}), "required": spec.is_required}
        for name, spec in plan.inputs.items()
    }
    steps = [_described(step) for step in plan.steps]
    return {
        "name": plan.name,
        "description": plan.description,
        "inputs": inputs,
        "outputs": list(plan.outputs),
        "policy": plan.policy.model_dump(mode="json"),
        "steps": steps,
        "diagram": mermaid(plan),
    }


def _described(step: Step) -> dict[str, Any]:
    name, stage = step.deployment.name, step.deployment.contract.name
    variant = getattr(step.deployment.weights, "variant", None)
    made_for = {} if variant is None else {"variant": variant}
    return {"node": step.node, "use": name, "stage": stage, **made_for, "params": dict(step.params)}
