"""Walking a plan once: a step starts as soon as its inputs are there, and only steps that are needed start at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve_app.core.errors import InputLost, Rejected, Unavailable
from serve_app.graph.callers import Call, Caller
from serve_app.graph.flow import WHOLE, Flow, NotReached, Streaming
from serve_app.graph.plan import Bound, Plan, Step
from serve_app.graph.preparing import Preparing
from serve_app.graph.record import Called
from serve_app.graph.relay import Relay


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
        """A gate turned its clip away, or a stage gave up its own attempt."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a walk left: every finished step, and the first rejection, if any."""

    done: Mapping[str, Called]
    rejected: Rejected | None


@dataclass(frozen=True)
class Rules:
    """How to walk: whether gates are enforced, how often a lost step is called again, and after how long (s).

    ``streaming`` says whether clips move in chunks.
    """

    are_gates_enforced: bool = True
    step_retries: int = 3
    backoff_s: float = 0.5
    streaming: Streaming = WHOLE


Keep = Callable[[Called], Awaitable[None]]
"""Remembers a step that was worked off in pieces, which a caller saw one by one."""


async def _forget(called: Called) -> None: ...


@dataclass
class _Walk:
    bound: Bound
    caller: Caller
    watcher: Watcher
    rules: Rules
    preparing: Preparing
    remember: Keep
    tasks: dict[str, asyncio.Task[Called]] = field(default_factory=dict)

    def start(self, step: Step, relay: Relay) -> None:
        self.tasks[step.node] = asyncio.create_task(self._run(step, relay), name=step.node)
        self.tasks[step.node].add_done_callback(lambda task: relay.ended(step.node, task))

    async def _run(self, step: Step, relay: Relay) -> Called:
        values: dict[str, Any] = {}
        for port, source in step.takes.items():
            if source.is_input:
                value = self.bound.inputs[source.name]
            else:
                value = relay.early(step, port) or await self.value_of(source.name)
            if value is not None:
                values[port] = value
        try:
            called = await relay.work(step, values)
        except Rejected as error:
            self.watcher.step_rejected(step, error)
            if self.rules.are_gates_enforced or step.deployment.contract.gates is None:
                raise  # one that is no gate gave up its own attempt, and has nothing to hand on
            called = await self._hand_on(step)
        self.watcher.step_finished(step, called)
        return called

    async def _await(self, node: str) -> Called:
        try:
            return await asyncio.shield(self.tasks[node])
        except Rejected as error:
            raise NotReached(node) from error

    async def value_of(self, node: str) -> Any:
        """See `Walker.value_of`."""
        return (await self._await(node)).value

    async def keep(self, called: Called) -> None:
        """See `Walker.keep`."""
        await self.remember(called)

    def is_done(self, node: str) -> bool:
        """See `Walker.is_done`."""
        return self.tasks[node].done()

    def begin(self, step: Step, values: Mapping[str, Any]) -> Call:
        """See `Walker.begin`."""
        self.watcher.step_started(step)
        return self.prepared(step, values)

    def prepared(self, step: Step, values: Mapping[str, Any]) -> Call:
        """See `Walker.prepared`."""
        tell: Callable[[int, int], None] = lambda done, of: self.watcher.step_progressed(step, done, of)  # noqa: E731
        return Call(step, self.bound.params[step.node], values, tell, self.preparing.warnings(step.node))

    async def perform(self, call: Call, may_repeat: Callable[[], bool] = lambda: True) -> Called:
        """See `Walker.perform`."""
        retries = 0
        while True:
            try:
                return await self.caller.call(call)
            except InputLost:
                raise
            except Unavailable as error:
                if not may_repeat():
                    raise InputLost(error.what, f"its clip broke off: {error.detail}") from error
                if retries == self.rules.step_retries:
                    raise
                self.watcher.step_retried(call.step, error)
            await asyncio.sleep(self.rules.backoff_s * 2**retries)
            retries += 1

    def outcome(self) -> Outcome:
        """What a walk left whose tasks are all done."""
        done = {node: task.result() for node, task in self.tasks.items() if task.exception() is None}
        in_order = (self.tasks[step.node].exception() for step in self.bound.plan.steps if step.node in self.tasks)
        return Outcome(done, next((error for error in in_order if isinstance(error, Rejected)), None))

    async def _hand_on(self, step: Step) -> Called:
        """Open a gate: its value is the value of the port it guards, and its record that of the step before."""
        gated = step.deployment.contract.gates or ""
        return await self._await(step.takes[gated].name)


def needed(plan: Plan, known: Mapping[str, Called]) -> list[Step]:
    """Return, in order, the steps that must run so that every output has a value, given what is ``known``."""
    wanted = {node for node in plan.outputs.values() if node not in known}
    steps = {step.node: step for step in plan.steps}
    for step in reversed(plan.steps):
        if step.node in wanted:
            wanted.update(need for need in steps[step.node].needs if need not in known)
    return [step for step in plan.steps if step.node in wanted]


def standing(plan: Plan, known: Mapping[str, Called]) -> dict[str, Called]:
    """Return what of ``known`` still holds: nothing that was made of what a step which must run again had made.

    A step that runs again may make something else, on another device: what judged its first clip, or shows it, says
    nothing of the next one.
    """
    held = dict(known)
    while True:
        remade = {step.node for step in needed(plan, held)}
        for step in plan.steps:
            if not remade.isdisjoint(step.needs):
                remade.add(step.node)
        if remade.isdisjoint(held):
            return held
        held = {node: called for node, called in held.items() if node not in remade}


async def walk(
    bound: Bound,
    caller: Caller,
    watcher: Watcher,
    rules: Rules,
    known: Mapping[str, Called] | None = None,
    keep: Keep = _forget,
) -> Outcome:
    """Run the steps that are needed. After a rejection the branches beside the gate still finish: the evidence.

    Any other error, or cancellation of this task, stops every step in flight before it is passed on. Raises InputLost
    when a value was lost between two steps: walk again, with what is still ``known``; what of it no longer holds is not
    used (`standing`). ``keep`` hears of steps that were called piece by piece (`Errand.is_piece`), once for each.
    """
    known = {node: called for node, called in (known or {}).items() if not _is_spent(called.value)}
    known = standing(bound.plan, known)
    steps = needed(bound.plan, known)
    state = _Walk(bound, caller, watcher, rules, Preparing(bound, caller, steps, known), keep)
    relay = Relay(state, bound, steps, known, rules.streaming)
    for node, called in known.items():
        state.tasks[node] = asyncio.create_task(_value(called), name=node)
    for step in steps:
        state.start(step, relay)
    try:
        pending = set(state.tasks.values())
        while pending:
            finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            _raise_first(finished)
        return state.outcome()
    finally:
        await state.preparing.stop()
        await _stop(state.tasks.values())


def _is_spent(value: Any) -> bool:
    """Whether it is a clip of which chunks have been let go."""
    return isinstance(value, Flow) and not value.is_whole


async def _value(called: Called) -> Called:
    return called


def _raise_first(finished: set[asyncio.Task[Called]]) -> None:
    for task in finished:
        error = task.exception()
        if error is not None and not isinstance(error, Rejected | NotReached):
            raise error


async def _stop(tasks: Iterable[asyncio.Task[Called]]) -> None:
    """Cancel what still runs and wait for it: nothing of a walk outlives it, and no error of it is lost."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
