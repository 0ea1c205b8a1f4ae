"""Walking a plan once: a step starts as soon as its inputs are there, and only steps that are needed start at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve_app.core.errors import InputLost, Rejected, StageFailed, Unavailable
from serve_app.graph.callers import Call, Caller
from serve_app.graph.plan import Bound, Plan, Step
from serve_app.graph.record import Called


class Watcher(Protocol):
    """Hears what happens during a walk, on the event loop's thread."""

    def step_started(self, step: Step) -> None:
        """A step was handed to its deployment."""
        ...

    def step_progressed(self, step: Step, done: int, of: int) -> None:
        """``done`` of ``of`` units of the step's work are finished on the device."""
        ...

    def step_finished(self, step: Step, called: Called) -> None:
        """A step has its value. A bulky one is by reference."""
        ...

    def step_retried(self, step: Step, error: Unavailable) -> None:
        """The step's replica was lost and it is called again."""
        ...

    def step_rejected(self, step: Step, error: Rejected) -> None:
        """A gate turned its clip away."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a walk left: every finished step, and the first gate's rejection, if any."""

    done: Mapping[str, Called]
    rejected: Rejected | None


@dataclass(frozen=True)
class Rules:
    """How to walk: whether gates are enforced, how often a lost step is called again, and after how long (s)."""

    are_gates_enforced: bool = True
    step_retries: int = 3
    backoff_s: float = 0.5


class _NotReached(Exception):
    """A step behind a gate that rejected."""


@dataclass
class _Walk:
    bound: Bound
    caller: Caller
    watcher: Watcher
    rules: Rules
    tasks: dict[str, asyncio.Task[Called]] = field(default_factory=dict)

    def start(self, step: Step) -> None:
        self.tasks[step.node] = asyncio.create_task(self._run(step), name=step.node)

    async def _run(self, step: Step) -> Called:
        values: dict[str, Any] = {}
        for port, source in step.takes.items():
            if source.is_input:
                value = self.bound.inputs[source.name]
            else:
                value = (await self._await(source.name)).value
            if value is not None:
                values[port] = value
        self.watcher.step_started(step)
        try:
            called = await self._call(step, values)
        except Rejected as error:
            self.watcher.step_rejected(step, error)
            if self.rules.are_gates_enforced:
                raise
            called = self._hand_on(step)
        self.watcher.step_finished(step, called)
        return called

    async def _await(self, node: str) -> Called:
        try:
            return await asyncio.shield(self.tasks[node])
        except Rejected as error:
            raise _NotReached(node) from error

    async def _call(self, step: Step, values: Mapping[str, Any]) -> Called:
        params = self.bound.params[step.node]
        tell: Callable[[int, int], None] = lambda done, of: self.watcher.step_progressed(step, done, of)  # noqa: E731
        retries = 0
        while True:
            try:
                return await self.caller.call(Call(step, params, values, tell))
            except InputLost:
                raise
            except Unavailable as error:
                if retries == self.rules.step_retries:
                    raise
                self.watcher.step_retried(step, error)
            await asyncio.sleep(self.rules.backoff_s * 2**retries)
            retries += 1

    def outcome(self) -> Outcome:
        """What a walk left whose tasks are all done."""
        done = {node: task.result() for node, task in self.tasks.items() if task.exception() is None}
        in_order = (self.tasks[step.node].exception() for step in self.bound.plan.steps if step.node in self.tasks)
        return Outcome(done, next((error for error in in_order if isinstance(error, Rejected)), None))

    def _hand_on(self, step: Step) -> Called:
        """Open a gate: its value is the value of the port it guards, and its record that of the step before."""
        gated = step.deployment.contract.gates
        if gated is None:
            raise StageFailed(step.deployment.contract.name, Rejected.__name__, "it rejected, and it is no gate")
        return self.tasks[step.takes[gated].name].result()


def needed(plan: Plan, known: Mapping[str, Called]) -> list[Step]:
    """Return, in order, the steps that must run so that every output has a value, given what is ``known``."""
    wanted = {node for node in plan.outputs.values() if node not in known}
    steps = {step.node: step for step in plan.steps}
    for step in reversed(plan.steps):
        if step.node in wanted:
            wanted.update(need for need in steps[step.node].needs if need not in known)
    return [step for step in plan.steps if step.node in wanted]


async def walk(
    bound: Bound, caller: Caller, watcher: Watcher, rules: Rules, known: Mapping[str, Called] | None = None
) -> Outcome:
    """Run the steps that are needed. After a rejection the branches beside the gate still finish: the evidence.

    Any other error, or cancellation of this task, stops every step in flight before it is passed on. Raises InputLost
    when a value was lost between two steps: walk again, with what is still ``known``.
    """
    known = known or {}
    state = _Walk(bound, caller, watcher, rules)
    for node, called in known.items():
        state.tasks[node] = asyncio.create_task(_value(called), name=node)
    for step in needed(bound.plan, known):
        state.start(step)
    try:
        pending = set(state.tasks.values())
        while pending:
            finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            _raise_first(finished)
        return state.outcome()
    finally:
        await _stop(state.tasks.values())


async def _value(called: Called) -> Called:
    return called


def _raise_first(finished: set[asyncio.Task[Called]]) -> None:
    for task in finished:
        error = task.exception()
        if error is not None and not isinstance(error, Rejected | _NotReached):
            raise error


async def _stop(tasks: Iterable[asyncio.Task[Called]]) -> None:
    """Cancel what still runs and wait for it: nothing of a walk outlives it, and no error of it is lost."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
