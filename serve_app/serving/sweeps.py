"""The sweeps behind the HTTP API: every cell is checked before the first is recorded; the runners do the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.core.artifact import Artifact
from serve_app.core.errors import BadAdapter, BadRequest, Conflict, InvalidInput, Unknown
from serve_app.core.optimal_seeds import OptimalSeed
from serve_app.core.score import Score
from serve_app.graph.plan import Bound, Plan
from serve_app.graph.spec import RunPolicy
from serve_app.http.service import SweepDetail
from serve_app.runs.model import RunRequest
from serve_app.runs.store import RunStore
from serve_app.runs.sweep import RETRIES, Point, SweepSpec, expand, plain
from serve_app.runs.sweep_model import (
    CellRequest,
    Sweep,
    SweepPage,
    SweepRequest,
    SweepState,
    check_sweep_id,
    new_sweep_id,
)
from serve_app.runs.values import inputs_to_json
from serve_app.serving.adapters import admit
from serve_app.serving.policy import policy_of
from serve_app.serving.seeds import drawn, seeding

Keep = Callable[[str, Any, bool], Awaitable[Any]]
"""Stores a value that is an upload: (field's name, value, whether it is a video) -> its artifact, or the value."""

Priced = Callable[[Plan, RunPolicy], None]
"""Raises InvalidInput naming `policy.budget_usd` when a plan would use what has no price. May block."""


@dataclass(frozen=True)
class _Course:
    """What all cells of one pipeline share: its plan, their policy, and the node that scores them."""

    plan: Plan
    policy: RunPolicy
    score_node: str


class SweepService:
    """Implements `http.service.Sweeps` on a run store and the compiled plans; ``keep`` stores pictures."""

    def __init__(
        self,
        store: RunStore,
        plans: Mapping[str, Plan],
        seeds: Mapping[str, OptimalSeed],
        keep: Keep,
        priced: Priced,
    ) -> None:
        self._store, self._plans, self._seeds, self._keep, self._priced = store, plans, seeds, keep, priced

    async def submit(self, sweep_id: str | None, spec: SweepSpec) -> tuple[SweepDetail, bool]:
        """See `Sweeps.submit`. What a run would be refused for is refused here, before anything is recorded."""
        is_known = sweep_id is not None and await asyncio.to_thread(self._is_known, check_sweep_id(sweep_id))
        sweep_id = sweep_id or new_sweep_id()
        points = expand(spec)  # before anything is stored: a grid may be too large
        courses = {name: self._course(name, spec) for name in spec.pipelines}
        if spec.ladder is not None and spec.ladder not in points[0].axes:
            raise InvalidInput("ladder", Unknown("ladder", spec.ladder, list(points[0].axes)).reason)
        if not is_known:  # a repetition was admitted when it was new; what has changed since does not undo that
            for course in courses.values():
                await asyncio.to_thread(self._priced, course.plan, course.policy)
        kept = await self._with_uploads_kept(spec)
        bound = [(point, *self._bind(sweep_id, spec, point, courses[point.pipeline])) for point in expand(kept)]
        if not is_known:
            await asyncio.to_thread(_admit, [each for _, each, _ in bound], spec)
        cells = tuple(_cell(sweep_id, point, each, origin, courses[point.pipeline]) for point, each, origin in bound)
        request = SweepRequest(sweep_id, _as_json(kept), cells)
        sweep, is_new = await asyncio.to_thread(self._store.sweeps.add, request)
        return await self._detail(sweep), is_new

    def _is_known(self, sweep_id: str) -> bool:
        try:
            self._store.sweeps.get(sweep_id)
        except Unknown:
            return False
        return True

    def _course(self, pipeline: str, spec: SweepSpec) -> _Course:
        plan, node = self._plan(pipeline), self._score_node(pipeline, spec.score)
        policy = policy_of(plan, {**RETRIES, **spec.policy})
        plan.check_policy(policy)
        return _Course(plan, policy, node)

    def _bind(self, sweep_id: str, spec: SweepSpec, point: Point, course: _Course) -> tuple[Bound, str | None]:
        """Return a cell's inputs as its pipeline takes them, and where its seed is from."""
        plan, policy = course.plan, course.policy
        if policy.attempts > 1 and policy.vary == "seed" and _names_seed(plan, point):
            raise InvalidInput(
                "policy.attempts", "is 1 where the seed is an axis: a second try would have another seed"
            )
        # One seed for the whole sweep where none is named: cells then differ in what the sweep varies, and not by luck.
        if len(spec.pipelines) > 1:
            seed = drawn(plan, sweep_id, point.inputs)
        else:
            seed = seeding(plan, sweep_id, point.inputs, self._seeds)
        try:
            return plan.bind({**seed.inputs, **point.inputs}), seed.origin
        except BadRequest as error:
            raise InvalidInput(_field(error, spec), f"{error.args[1]} (pipeline {plan.name})") from error

    def _plan(self, name: str) -> Plan:
        if name not in self._plans:
            raise Unknown("pipelines", name, list(self._plans))
        return self._plans[name]

    def _score_node(self, pipeline: str, output: str | None) -> str:
        """Return the node behind the score that is compared."""
        plan = self._plan(pipeline)
        kinds = {step.node: step.deployment.contract.output for step in plan.steps}
        scores = {name: node for name, node in plan.outputs.items() if kinds[node] is Score}
        wanted = output or ("score" if "score" in scores or len(scores) != 1 else next(iter(scores)))
        if wanted not in scores:
            reason = f"{pipeline} gives no score called {wanted}; its scores are {', '.join(scores) or 'none'}"
            raise InvalidInput("score", reason)
        return scores[wanted]

    async def _with_uploads_kept(self, spec: SweepSpec) -> SweepSpec:
        """Return ``spec`` with artifacts in the place of uploads; each file is looked into and stored once."""
        declared = [(name, each) for pipeline in spec.pipelines for name, each in self._plan(pipeline).inputs.items()]
        films = {alias for name, each in declared if each.type == "clip" for alias in (name, *each.aliases)}

        async def keep(field: str, name: str, value: Any) -> Any:
            return await self._keep(field, value, name in films)

        over, variants = {}, {}
        for name, values in spec.over.items():
            over[name] = tuple([await keep(f"over.{name}.{index}", name, each) for index, each in enumerate(values)])
        for variant, given in spec.variants.items():
            at = f"variants.{variant}"
            variants[variant] = {name: await keep(f"{at}.{name}", name, value) for name, value in given.items()}
        inputs = {name: await keep(f"inputs.{name}", name, value) for name, value in spec.inputs.items()}
        return spec.model_copy(update={"inputs": inputs, "over": over, "variants": variants})

    async def get(self, sweep_id: str) -> SweepDetail:
        """See `Sweeps.get`."""
        return await self._detail(await asyncio.to_thread(self._store.sweeps.get, sweep_id))

    async def list(self, limit: int, cursor: str | None) -> SweepPage:
        """See `Sweeps.list`."""
        return await asyncio.to_thread(self._store.sweeps.list, limit, cursor)

    async def cancel(self, sweep_id: str) -> SweepDetail:
        """See `Sweeps.cancel`."""
        sweep = await asyncio.to_thread(self._store.sweeps.cancel, sweep_id)
        if sweep.state is SweepState.FINISHED:
            raise Conflict(f"the sweep has ended as {sweep.state}")
        return await self._detail(sweep)

    async def _detail(self, sweep: Sweep) -> SweepDetail:
        return SweepDetail(sweep, tuple(await asyncio.to_thread(self._store.sweeps.cells, sweep.id)))


def _cell(sweep_id: str, point: Point, bound: Bound, seed_origin: str | None, course: _Course) -> CellRequest:
    run_id, policy = point.run_id(sweep_id), course.policy.model_dump(mode="json")
    run = RunRequest(run_id, course.plan.name, inputs_to_json(bound.inputs), policy, seed_origin=seed_origin)
    return CellRequest(run, {name: plain(value) for name, value in point.axes.items()}, course.score_node)


def _admit(cells: Iterable[Bound], spec: SweepSpec) -> None:
    """Admit every distinct choice of adapters once: that reads headers of files, and looks at nothing else."""
    seen: set[tuple[str, str]] = set()
    for bound in cells:
        adapters = {name: value for name, value in bound.inputs.items() if bound.plan.inputs[name].type == "adapter"}
        key = (bound.plan.name, repr(adapters))
        if key in seen:
            continue
        seen.add(key)
        try:
            admit(bound)
        except BadRequest as error:
            said = str(error) if isinstance(error, BadAdapter) else error.reason
            raise InvalidInput(_field(error, spec), f"{said} (pipeline {bound.plan.name})") from error


def _names_seed(plan: Plan, point: Point) -> bool:
    name = plan.seed_input
    return name is not None and any(each in point.axes for each in (name, *plan.inputs[name].aliases))


def _as_json(spec: SweepSpec) -> dict[str, Any]:
    """Return a specification as JSON values, an artifact as its own."""

    def say(value: Any) -> Any:
        return value.as_json() if isinstance(value, Artifact) else value

    return {
        **{name: getattr(spec, name) for name in type(spec).model_fields},
        "pipelines": list(spec.pipelines),
        "inputs": {name: say(value) for name, value in spec.inputs.items()},
        "over": {name: [say(value) for value in values] for name, values in spec.over.items()},
        "variants": {
            variant: {name: say(value) for name, value in given.items()} for variant, given in spec.variants.items()
        },
    }


def _field(error: BadRequest, spec: SweepSpec) -> str:
    """Name the axis or the variant at fault, where a run would name its input."""
    name = str(error.field).removeprefix("inputs.")
    if name in spec.over:
        return f"over.{name}"
    variant = next((variant for variant, inputs in spec.variants.items() if name in inputs), None)
    return f"variants.{variant}.{name}" if variant is not None else str(error.field)
