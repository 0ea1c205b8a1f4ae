"""The queue's other end: claim a run, hold its lease, carry out its policy, record how it ended."""

from __future__ import annotations

import asyncio
import itertools
import logging
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.core.errors import Conflict, GreenlightError, Misconfigured, Rejected, Unavailable, Unknown
from serve_app.graph.callers import Caller
from serve_app.graph.plan import Plan
from serve_app.graph.run import Rules
from serve_app.graph.spec import RunPolicy
from serve_app.runs.attempts import Attempts, Result, attempts_in
from serve_app.runs.model import Beat, Run, RunState
from serve_app.runs.report import Reporter
from serve_app.runs.scribe import Scribe
from serve_app.runs.store import RunStore
from serve_app.runs.values import inputs_from_json

log = logging.getLogger("greenlight.queue")

RUNNER = "runner"
"""The kind under which queues give their heartbeats."""


@dataclass(frozen=True)
class QueueSettings:
    """``slots`` runs at a time; a lease of ``lease_s``; an empty queue is looked at every ``poll_s``.

    ``max_claims``: claims in a row without any new result before a run is given up. ``step_retries``: calls of a step
    after its replica was lost.
    """

    slots: int = 1
    lease_s: float = 15.0
    poll_s: float = 0.1
    max_claims: int = 3
    step_retries: int = 3


class Queue:
    """Takes runs from the store and carries them out with ``caller``, until ``stop``."""

    def __init__(
        self, store: RunStore, plans: Mapping[str, Plan], caller: Caller, reporter: Reporter, settings: QueueSettings
    ) -> None:
        self._store, self._plans, self._caller = store, plans, caller
        self._reporter, self._settings = reporter, settings
        self._id, self._claims = f"runner-{uuid.uuid4().hex[:8]}", itertools.count(1)
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to claim runs, on the running event loop."""
        loops: list[Callable[[], Awaitable[None]]] = [self._claim_for_ever] * self._settings.slots
        self._loops = [asyncio.ensure_future(loop()) for loop in (*loops, self._beat_for_ever)]

    def check(self) -> None:
        """Raise what ended a loop. None of them should ever end."""
        for loop in self._loops:
            if loop.done():
                loop.result()

    async def stop(self) -> None:
        """Stop claiming and put the runs at hand back into the queue."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def run_one(self) -> Run | None:
        """Carry out the next run, if there is one, and return it as it was claimed."""
        settings, owner = self._settings, f"{self._id}:{next(self._claims)}"
        run = await asyncio.to_thread(self._store.claim, owner, settings.lease_s, settings.max_claims)
        if run is not None:
            await self._hold(run, owner)
        return run

    async def _claim_for_ever(self) -> None:
        while True:
            try:
                if await self.run_one() is None:
                    await asyncio.sleep(self._settings.poll_s)
            except Unavailable as error:  # the store is away: runs wait in it, so wait for it
                log.warning("the run store is away: %s", error)
                await asyncio.sleep(1.0)

    async def _beat_for_ever(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._store.heartbeat, self._id, RUNNER)
            except Unavailable as error:
                log.warning("no heartbeat: %s", error)
            await asyncio.sleep(self._settings.lease_s / 3)

    async def _hold(self, run: Run, owner: str) -> None:
        """Carry out ``run`` while its lease is held; stop at once when it is lost or somebody cancels."""
        work = asyncio.create_task(self._carry_out(run), name=run.id)
        beat = Beat.HELD
        try:
            while not work.done() and beat is Beat.HELD:
                await asyncio.wait([work], timeout=min(1.0, self._settings.lease_s / 3))
                beat = await asyncio.to_thread(self._store.beat, run.id, owner, self._settings.lease_s)
            if not work.done():
                work.cancel()
                await asyncio.wait([work])
            if beat is not Beat.LOST:
                await self._end(run, owner, work)
        except asyncio.CancelledError:  # this process is told to stop: another takes the run at once
            work.cancel()
            await asyncio.wait([work])
            await asyncio.to_thread(self._store.release, run.id, owner)
            raise

    async def _carry_out(self, run: Run) -> Result:
        plan = self._plans.get(run.pipeline)
        if plan is None:
            raise Misconfigured("pipelines", str(Unknown("pipeline", run.pipeline, list(self._plans))))
        async with Scribe(self._store, run.id) as scribe:
            scribe.say("run.started", {"claims": run.claims})
            attempts = Attempts(
                run=run,
                bound=plan.bind(inputs_from_json(plan, run.inputs)),
                policy=RunPolicy.model_validate(run.policy),
                caller=self._caller,
                store=self._store,
                scribe=scribe,
                rules=Rules(step_retries=self._settings.step_retries),
            )
            return await attempts.carry_out()

    async def _end(self, run: Run, owner: str, work: asyncio.Task[Result]) -> None:
        error = None if work.cancelled() else work.exception()
        if work.cancelled():
            await self._finish(run, owner, RunState.CANCELLED, None)
        elif isinstance(error, Unavailable):
            log.warning("run %s goes back into the queue: %s", run.id, error)
            await asyncio.to_thread(self._store.release, run.id, owner, True)
        elif isinstance(error, Conflict):
            log.warning("run %s has ended elsewhere: %s", run.id, error)
        elif error is not None:
            await self._finish(run, owner, RunState.FAILED, error_json(error, run.id))
        else:
            result = work.result()
            state = RunState.SUCCEEDED if result.is_accepted else RunState.REJECTED
            await self._finish(run, owner, state, None if result.is_accepted else rejected_json(result), result)

    async def _finish(
        self, run: Run, owner: str, state: RunState, error: dict[str, Any] | None, result: Result | None = None
    ) -> None:
        if result is None:  # cut short: what is known of it is what was remembered
            recalled = await asyncio.to_thread(self._store.recall, run.id)
            result = Result(tuple(attempts_in(recalled)), None, is_accepted=False)
        report = self._reporter.report(run, state, result)
        await asyncio.to_thread(self._store.finish, run.id, owner, state, report, error)


def error_json(error: BaseException, run_id: str) -> dict[str, Any]:
    """Return why a run failed, as JSON values; a foreign error is logged with its trace and told without it."""
    if isinstance(error, GreenlightError):
        facts = {"code": error.code, "status": error.status, "field": error.field, "hint": error.hint}
        return {**facts, "detail": str(error)}
    log.error("run %s failed:\n%s", run_id, "".join(traceback.format_exception(error)))
    detail = f"an unforeseen {type(error).__name__}; the runner's log has its trace"
    return {"code": "internal", "status": 500, "field": None, "hint": "Report it with the run's id.", "detail": detail}


def rejected_json(result: Result) -> dict[str, Any]:
    """Return the last attempt's rejection as a run's error."""
    last = result.attempts[-1].rejection or {}
    count = len(result.attempts)
    detail = f"every attempt was rejected ({count} in all); the last by {last.get('detector')}: {last.get('reason')}"
    facts = {"code": Rejected.code, "status": Rejected.status, "field": None, "hint": Rejected.hint, "detail": detail}
    return {**facts, "rejection": last}
