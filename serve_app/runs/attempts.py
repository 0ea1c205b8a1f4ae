"""The run policy: attempts under new seeds until a gate is content, within budgets, and what is kept when none is."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from serve_app.core.errors import DeadlineExceeded, InputLost
from serve_app.graph.callers import Caller
from serve_app.graph.plan import Bound
from serve_app.graph.record import Called
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
from serve_app.runs.calls import Calls
from serve_app.runs.ledger import Prices
from serve_app.runs.meter import Meter, spent_by
from serve_app.runs.model import Run
from serve_app.runs.patience import patiently
from serve_app.runs.scribe import Scribe, rejection_json
from serve_app.runs.store import Recalled, RunStore

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
    prices: Prices
    finished: list[Attempt] = field(default_factory=list)
    best_done: Mapping[str, Called] = field(default_factory=dict)
    """What the best attempt left, its clips too, if the policy may want it finished and it was walked here."""

    async def carry_out(self) -> Result:
        """Run attempts until one passes or none is left or can help.

        Raises DeadlineExceeded if a budget ends the first one, and InvalidInput if a budget in USD cannot be kept.
        """
        recalled = await self._recall()
        self.finished = [attempt for attempt in self._attempts_in(recalled) if attempt.is_finished]
        while not self._is_over:
            try:
                await self._add_another(recalled)
                gc.collect()  # a rejection and its trace hold one another, and the clip that was turned away
            except DeadlineExceeded:
                if not self.finished:
                    raise
                break  # the attempts that were judged are the result
        return await self._deliver()

    @property
    def _is_over(self) -> bool:
        if not self.finished:
            return False
        last = self.finished[-1]
        return len(self.finished) >= self.policy.attempts or last.rejection is None or last.is_hopeless

    async def _add_another(self, recalled: Recalled) -> None:
        """Carry out the next attempt, or the rest of it, and remember how it ended."""
        number = len(self.finished) + 1
        seed, prior = self._seed(number), records_in(recalled, number)
        prior_s = sum(record.seconds for record in prior)
        self.scribe.attempt = number
        unfinished = Attempt(number, seed, prior_s, prior, {}, None, is_finished=False)
        calls = self._calls(number, [*self.finished, unfinished])
        calls.records.extend(prior)
        began = time.perf_counter()
        announce = lambda: self.scribe.say("attempt.started", {"seed": seed, "of": self.policy.attempts})  # noqa: E731
        outcome = await self._walk_within(calls, self.rules, known_in(recalled, number), announce)
        seconds = prior_s + time.perf_counter() - began
        rejected = calls.final or outcome.rejected
        rejection = None if rejected is None else rejection_json(rejected)
        attempt = Attempt(number, seed, seconds, each_once(calls.records), small(outcome.done), rejection)
        await self.scribe.flush()
        await patiently(self.store.remember, self.run.id, number, END, attempt.end_json())
        self.scribe.say("attempt.finished", {"seed": seed, "seconds": round(seconds, 3), "rejection": rejection})
        self.finished.append(attempt)
        if self.policy.keep == "best" and self._best is attempt:
            self.best_done = outcome.done

    def _calls(self, number: int, before: list[Attempt]) -> Calls:
        """Return what makes an attempt's calls, with what the attempts ``before`` and its own past have spent."""
        seconds = sum(attempt.seconds for attempt in before)
        spent = spent_by(seconds, [record for attempt in before for record in attempt.records], self.prices)
        remember = functools.partial(self.store.remember, self.run.id, number)
        return Calls(number, self.caller, Meter(self.policy, self.prices, spent), remember)

    async def _walk_within(
        self, calls: Calls, rules: Rules, known: Mapping[str, Called], announce: Callable[[], None]
    ) -> Outcome:
        """Walk an attempt while its budgets last; ``announce`` it if they have not run out already."""
        try:
            calls.meter.check()
            announce()
            return await calls.meter.within(lambda: self._walk(calls, rules, known))
        except DeadlineExceeded as error:
            self.scribe.say("budget.spent", {error.what: error.limit})
            raise

    async def _walk(self, calls: Calls, rules: Rules, known: Mapping[str, Called]) -> Outcome:
        """Walk an attempt. A clip that was lost on its way can only be made again, from the inputs and the seed."""
        seed, restarts = self._seed(calls.number), 0
        bound = self.bound if seed is None else self.bound.with_seed(seed)
        while True:
            try:
                return await walk(bound, calls, self.scribe, rules, known, calls.keep)
            except InputLost as error:
                if restarts == RESTARTS:
                    raise
                self.scribe.say("attempt.restarted", {"reason": str(error)})
            restarts += 1
            known = known_in(await self._recall(), calls.number)

    async def _deliver(self) -> Result:
        """The attempt that passed; else, if the policy keeps it and the budgets let it be finished, the best one."""
        recalled = await self._recall()
        attempts = (*self.finished, *(each for each in self._attempts_in(recalled) if not each.is_finished))
        if self.finished[-1].rejection is None:
            return Result(attempts, self.finished[-1], is_accepted=True)
        if self.policy.keep == "none":
            return Result(attempts, None, is_accepted=False)
        best = self._best
        if best is None:
            reason = "no attempt made a clip that could be kept"
            return Result(attempts, None, is_accepted=False, undelivered=reason)
        try:
            kept = await self._finish_best(best, recalled)
        except DeadlineExceeded as error:
            reason = f"the best attempt, number {best.number}, was not finished: {error}"
            left = tuple(self._attempts_in(await self._recall()))
            return Result(left, None, is_accepted=False, undelivered=reason)
        return Result(
            tuple(kept if attempt.number == kept.number else attempt for attempt in attempts), kept, is_accepted=False
        )

    @property
    def _best(self) -> Attempt | None:
        """The highest in rank of those that made a clip; of equals, the first."""
        made = [attempt for attempt in self.finished if not (attempt.is_given_up or attempt.is_hopeless)]
        return max(made, key=lambda attempt: attempt.rank, default=None)

    async def _finish_best(self, best: Attempt, recalled: Recalled) -> Attempt:
        """Finish the best attempt with its gates open, within what the attempts have left of the budgets."""
        before = self._attempts_in(recalled)
        best = next(attempt for attempt in before if attempt.number == best.number)
        calls = self._calls(best.number, before)
        calls.records.extend(best.records)
        self.scribe.attempt = best.number
        began = time.perf_counter()
        known = {**known_in(recalled, best.number), **self.best_done}
        rules = replace(self.rules, are_gates_enforced=False)
        outcome = await self._walk_within(
            calls, rules, known, lambda: self.scribe.say("best.kept", {"seed": best.seed})
        )
        seconds = best.seconds + time.perf_counter() - began
        return replace(best, seconds=seconds, records=each_once(calls.records), values=small(outcome.done))

    def _seed(self, number: int) -> int | None:
        name = self.bound.plan.seed_input
        return seed_of(None if name is None else self.bound.inputs[name], self.policy.vary, number)

    def _attempts_in(self, recalled: Recalled) -> list[Attempt]:
        return attempts_in(recalled, self._seed)

    async def _recall(self) -> dict[tuple[int, str], dict[str, Any]]:
        return await patiently(self.store.recall, self.run.id)
