"""The run policy: attempts under new seeds until a gate is content, within a budget, and what is kept when none is."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from serve_app.core.errors import DeadlineExceeded, InputLost
from serve_app.graph.callers import Call, Caller
from serve_app.graph.plan import Bound
from serve_app.graph.record import Called, StepRecord
from serve_app.graph.run import Outcome, Rules, walk
from serve_app.graph.spec import RunPolicy
from serve_app.runs.attempt import (
    END,
    Attempt,
    Result,
    attempts_in,
    each_once,
    known_in,
    records_in,
    seed_of,
    small,
)
from serve_app.runs.model import Run
from serve_app.runs.patience import patiently
from serve_app.runs.scribe import Scribe, rejection_json
from serve_app.runs.store import Recalled, RunStore
from serve_app.runs.values import to_json

RESTARTS = 2
"""How often an attempt begins again in one runner because a clip was lost; then another runner may try."""


@dataclass
class Attempts:
    """Carries out one run's policy. What finished is remembered in the store, so a successor does not repeat it."""

    run: Run
    bound: Bound
    policy: RunPolicy
    caller: Caller
    store: RunStore
    scribe: Scribe
    rules: Rules
    finished: list[Attempt] = field(default_factory=list)
    best_done: Mapping[str, Called] = field(default_factory=dict)
    """What the best attempt left, its clips too, if the policy may want it finished and it was walked here."""

    async def carry_out(self) -> Result:
        """Run attempts until one passes or none is left. Raises DeadlineExceeded if the budget ends the first one."""
        recalled = await self._recall()
        self.finished = [attempt for attempt in self._attempts_in(recalled) if attempt.is_finished]
        while len(self.finished) < self.policy.attempts and not self._has_passed:
            try:
                await self._add_another(recalled)
                gc.collect()  # a rejection and its trace hold one another, and the clip that was turned away
            except DeadlineExceeded:
                if not self.finished:
                    raise
                break  # the attempts that were judged are the result
        return await self._deliver()

    @property
    def _has_passed(self) -> bool:
        return bool(self.finished) and self.finished[-1].rejection is None

    async def _add_another(self, recalled: Recalled) -> None:
        """Carry out the next attempt, or the rest of it, and remember how it ended."""
        number = len(self.finished) + 1
        seed, prior = self._seed(number), records_in(recalled, number)
        prior_s = sum(record.seconds for record in prior)
        calls = _Calls(self, number, list(prior))
        self.scribe.attempt = number
        left_s = self._left_s(prior_s)
        self.scribe.say("attempt.started", {"seed": seed, "of": self.policy.attempts})
        began = time.perf_counter()
        outcome = await self._walk_within(left_s, calls, known_in(recalled, number))
        seconds = prior_s + time.perf_counter() - began
        rejection = None if outcome.rejected is None else rejection_json(outcome.rejected)
        attempt = Attempt(number, seed, seconds, each_once(calls.records), small(outcome.done), rejection)
        await self.scribe.flush()
        await self.remember(number, END, attempt.end_json())
        self.scribe.say("attempt.finished", {"seed": seed, "seconds": round(seconds, 3), "rejection": rejection})
        self.finished.append(attempt)
        if self.policy.keep == "best" and self._best is attempt:
            self.best_done = outcome.done

    def _left_s(self, prior_s: float) -> float | None:
        """Return what the budget still has for an attempt that took ``prior_s`` before; None without a budget."""
        if self.policy.budget_s is None:
            return None
        left_s = self.policy.budget_s - prior_s - sum(attempt.seconds for attempt in self.finished)
        if left_s <= 0:
            raise self._spent(self.policy.budget_s)
        return left_s

    def _spent(self, budget_s: float) -> DeadlineExceeded:
        self.scribe.say("budget.spent", {"budget_s": budget_s})
        return DeadlineExceeded("budget_s", budget_s)

    async def _walk_within(self, left_s: float | None, calls: _Calls, known: Mapping[str, Called]) -> Outcome:
        timer = asyncio.timeout(left_s)
        try:
            async with timer:
                return await self._walk(calls, self.rules, known)
        except TimeoutError:
            if not timer.expired() or self.policy.budget_s is None:
                raise
            raise self._spent(self.policy.budget_s) from None

    async def _walk(self, calls: _Calls, rules: Rules, known: Mapping[str, Called]) -> Outcome:
        """Walk an attempt. A clip that was lost on its way can only be made again, from the inputs and the seed."""
        seed, restarts = self._seed(calls.number), 0
        bound = self.bound if seed is None else self.bound.with_seed(seed)
        while True:
            try:
                return await walk(bound, calls, self.scribe, rules, known)
            except InputLost as error:
                if restarts == RESTARTS:
                    raise
                self.scribe.say("attempt.restarted", {"reason": str(error)})
            restarts += 1
            known = known_in(await self._recall(), calls.number)

    async def _deliver(self) -> Result:
        """The attempt that passed; else, if the policy keeps it, the best one."""
        recalled = await self._recall()
        cut_short = [attempt for attempt in self._attempts_in(recalled) if not attempt.is_finished]
        attempts = (*self.finished, *cut_short)
        if self._has_passed:
            return Result(attempts, self.finished[-1], is_accepted=True)
        if self.policy.keep == "none":
            return Result(attempts, None, is_accepted=False)
        kept = await self._finish_best(recalled)
        return Result(
            tuple(kept if attempt.number == kept.number else attempt for attempt in attempts), kept, is_accepted=False
        )

    @property
    def _best(self) -> Attempt:
        """The highest in rank; of equals, the first."""
        return max(self.finished, key=lambda attempt: attempt.rank)

    async def _finish_best(self, recalled: Recalled) -> Attempt:
        """Finish the best attempt with its gates open. The budget is that of the attempts, and does not end this."""
        best = self._best
        calls = _Calls(self, best.number, list(records_in(recalled, best.number)))
        self.scribe.attempt = best.number
        self.scribe.say("best.kept", {"seed": best.seed})
        began = time.perf_counter()
        known = {**known_in(recalled, best.number), **self.best_done}
        outcome = await self._walk(calls, replace(self.rules, are_gates_enforced=False), known)
        seconds = best.seconds + time.perf_counter() - began
        return replace(best, seconds=seconds, records=each_once(calls.records), values=small(outcome.done))

    def _seed(self, number: int) -> int | None:
        name = self.bound.plan.seed_input
        return seed_of(None if name is None else self.bound.inputs[name], self.policy.vary, number)

    def _attempts_in(self, recalled: Recalled) -> list[Attempt]:
        return attempts_in(recalled, self._seed)

    async def _recall(self) -> Recalled:
        return await patiently(self.store.recall, self.run.id)

    async def remember(self, number: int, node: str, value: dict[str, Any]) -> None:
        """Record that a node of an attempt is done."""
        await patiently(self.store.remember, self.run.id, number, node, value)


@dataclass
class _Calls:
    """A caller that remembers every step the moment it is done: small values whole, of bulky ones the record."""

    attempts: Attempts
    number: int
    records: list[StepRecord]

    async def call(self, call: Call) -> Called:
        called = await self.attempts.caller.call(call)
        self.records.append(called.record)
        await self.attempts.remember(self.number, call.step.node, to_json(called))
        return called
