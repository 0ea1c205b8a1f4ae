"""The run policy: attempts under new seeds until a gate is content, within a budget, and what is kept when none is."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from serve_app.core.artifact import Artifact
from serve_app.core.errors import DeadlineExceeded
from serve_app.core.score import Score
from serve_app.graph.callers import Call, Caller
from serve_app.graph.plan import Bound
from serve_app.graph.record import Called, StepRecord
from serve_app.graph.run import Outcome, Rules, walk
from serve_app.graph.spec import RunPolicy
from serve_app.runs.model import Run
from serve_app.runs.scribe import Scribe, rejection_json
from serve_app.runs.store import Recalled, RunStore
from serve_app.runs.values import from_json, is_kept, to_json

_END = "@end"
"""Where an attempt's own record is remembered, beside its nodes' values; no node can have this name."""


@dataclass(frozen=True)
class Attempt:
    """One try: its seed, what its steps did, and the gate's rejection. ``seconds`` is wall time.

    ``is_finished`` is False for a try that was cut short: cancelled, failed, out of budget. It was never accepted.
    """

    number: int
    seed: int | None
    seconds: float
    records: tuple[StepRecord, ...]
    values: Mapping[str, Any]
    rejection: dict[str, Any] | None
    is_finished: bool = True

    @property
    def rank(self) -> tuple[int, float]:
        """Greater is better: how many scores it lived to see, then the lowest of them in points."""
        points = [value.points for value in self.values.values() if isinstance(value, Score)]
        return len(points), min(points, default=0.0)


@dataclass(frozen=True)
class Result:
    """All attempts, which of them is delivered (None: nothing), and whether a gate passed it."""

    attempts: tuple[Attempt, ...]
    delivered: Attempt | None
    is_accepted: bool


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

    async def carry_out(self) -> Result:
        """Run attempts until one passes or none is left. Raises DeadlineExceeded if the budget ends the first one."""
        recalled = await asyncio.to_thread(self.store.recall, self.run.id)
        self.finished = [attempt for attempt in attempts_in(recalled) if attempt.is_finished]
        best: tuple[Attempt, Mapping[str, Called]] | None = None
        while len(self.finished) < self.policy.attempts and not (self.finished and self.finished[-1].rejection is None):
            number = len(self.finished) + 1
            known = _known(recalled, number)
            try:
                attempt, outcome = await self._within_budget(number, known)
            except DeadlineExceeded:
                if not self.finished:
                    raise
                break  # the attempts that were judged are the result
            self.finished.append(attempt)
            if self.policy.keep == "best" and (best is None or attempt.rank > best[0].rank):
                best = attempt, outcome.done
        return await self._deliver(best)

    async def _within_budget(self, number: int, known: Mapping[str, Called]) -> tuple[Attempt, Outcome]:
        budget_s = self.policy.budget_s
        if budget_s is None:
            return await self._try(number, known)
        left_s = budget_s - sum(attempt.seconds for attempt in self.finished)
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await self._try(number, known)
        except TimeoutError as error:
            self.scribe.say("budget.spent", {"budget_s": budget_s})
            raise DeadlineExceeded("budget_s", budget_s) from error

    async def _try(self, number: int, known: Mapping[str, Called]) -> tuple[Attempt, Outcome]:
        bound, seed = self._seeded(number)
        self.scribe.attempt = number
        self.scribe.say("attempt.started", {"seed": seed, "of": self.policy.attempts})
        began = time.perf_counter()
        outcome = await walk(bound, _Remembering(self, number), self.scribe, self.rules, known)
        seconds = time.perf_counter() - began
        rejection = None if outcome.rejected is None else rejection_json(outcome.rejected)
        attempt = _attempt(number, seed, seconds, outcome, rejection)
        await self.scribe.flush()
        await self.remember(
            number, _END, {"seed": seed, "seconds": seconds, "rejection": rejection, **_records(attempt)}
        )
        self.scribe.say("attempt.finished", {"seed": seed, "seconds": round(seconds, 3), "rejection": rejection})
        return attempt, outcome

    def _seeded(self, number: int) -> tuple[Bound, int | None]:
        name = self.bound.plan.seed_input
        if name is None:
            return self.bound, None
        seed = self.bound.inputs[name]
        if number > 1 and self.policy.vary == "seed":
            seed = derived_seed(seed, number)
        return self.bound.with_seed(seed), seed

    async def _deliver(self, best: tuple[Attempt, Mapping[str, Called]] | None) -> Result:
        """The attempt that passed; else, if the policy keeps it, the best one, finished with its gates open."""
        last = self.finished[-1]
        if last.rejection is None:
            return Result(tuple(self.finished), last, is_accepted=True)
        if self.policy.keep == "none":
            return Result(tuple(self.finished), None, is_accepted=False)
        chosen = max(self.finished, key=lambda attempt: attempt.rank)
        done = best[1] if best is not None and best[0] is chosen else {}
        bound, _ = self._seeded(chosen.number)
        self.scribe.attempt = chosen.number
        self.scribe.say("best.kept", {"seed": chosen.seed})
        began = time.perf_counter()
        rules = replace(self.rules, are_gates_enforced=False)
        outcome = await walk(bound, _Remembering(self, chosen.number), self.scribe, rules, done)
        seconds = chosen.seconds + time.perf_counter() - began
        kept = _attempt(chosen.number, chosen.seed, seconds, outcome, chosen.rejection)
        attempts = tuple(kept if attempt is chosen else attempt for attempt in self.finished)
        return Result(attempts, kept, is_accepted=False)

    async def remember(self, number: int, node: str, value: dict[str, Any]) -> None:
        """Record that a node of an attempt is done."""
        await asyncio.to_thread(self.store.remember, self.run.id, number, node, value)


class _Remembering:
    """A caller that records every step the moment it is done: small values whole, of bulky ones the record."""

    def __init__(self, attempts: Attempts, number: int) -> None:
        self._attempts, self._number = attempts, number

    async def call(self, call: Call) -> Called:
        called = await self._attempts.caller.call(call)
        await self._attempts.remember(self._number, call.step.node, to_json(called))
        return called


def derived_seed(seed: int, number: int) -> int:
    """Return the seed of attempt ``number`` (from 2): 32 bits of a sha256, so that neighbours share nothing."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def _attempt(
    number: int, seed: int | None, seconds: float, outcome: Outcome, rejection: dict[str, Any] | None
) -> Attempt:
    records = {called.record.node: called.record for called in outcome.done.values()}  # an open gate repeats a record
    small = {node: called.value for node, called in outcome.done.items() if isinstance(called.value, Artifact | Score)}
    return Attempt(number, seed, seconds, tuple(records.values()), small, rejection)


def _records(attempt: Attempt) -> dict[str, Any]:
    return {"records": [record.as_json() for record in attempt.records]}


def _known(recalled: Recalled, number: int) -> dict[str, Called]:
    mine = {node: value for (n, node), value in recalled.items() if n == number and node != _END}
    return {node: from_json(value) for node, value in mine.items() if is_kept(value)}


def attempts_in(recalled: Recalled) -> list[Attempt]:
    """Return the attempts of a run from what was remembered, in order; the last may be unfinished."""
    attempts = []
    for number in sorted({number for number, _ in recalled}):
        end = recalled.get((number, _END))
        values = {node: called.value for node, called in _known(recalled, number).items()}
        if end is not None:
            records = tuple(StepRecord.from_json(each) for each in end["records"])
            attempts.append(Attempt(number, end["seed"], end["seconds"], records, values, end["rejection"]))
        else:
            steps = [value for (n, _), value in sorted(recalled.items()) if n == number]
            records = tuple(StepRecord.from_json(each["record"]) for each in steps)
            seconds = sum(record.seconds for record in records)
            attempts.append(Attempt(number, None, seconds, records, values, None, is_finished=False))
    return attempts
