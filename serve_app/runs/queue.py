"""The queue's other end: claim a run, hold its lease, carry out its policy, record how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from serve_app.core.errors import Cancelled, Conflict, Misconfigured, Unavailable, Unknown
from serve_app.graph.callers import Caller
from serve_app.graph.flow import WHOLE, Streaming
from serve_app.graph.plan import Plan
from serve_app.graph.run import Rules
from serve_app.graph.spec import RunPolicy
from serve_app.runs.attempt import Result, attempts_in, seed_of
from serve_app.runs.attempts import Attempts
from serve_app.runs.ending import Ending, ending_of, error_json
from serve_app.runs.model import Beat, Run, RunState
from serve_app.runs.patience import patiently
from serve_app.runs.report import Reporter
from serve_app.runs.scribe import Scribe
from serve_app.runs.store import RunStore
from serve_app.runs.values import inputs_from_json
from serve_app.telemetry.log import about

log = logging.getLogger("greenlight.queue")

RUNNER = "runner"
"""The kind under which queues give their heartbeats."""


@dataclass(frozen=True)
class QueueSettings:
    """``slots`` runs at a time; a lease of ``lease_s``; an empty queue is looked at every ``poll_s``.

    ``max_claims``: claims in a row without any new result before a run is given up. ``step_retries``: calls of a step
    after its replica was lost. ``streaming``: how clips move.
    """

    slots: int = 1
    lease_s: float = 15.0
    poll_s: float = 0.1
    max_claims: int = 3
    step_retries: int = 3
    streaming: Streaming = WHOLE


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
        gc.freeze()  # the imported world need not be looked through again at the end of every run (see `run_one`)
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
        """Carry out the next run, if there is one, and return it as it was claimed. Raises Unavailable."""
        owner = f"{self._id}:{next(self._claims)}"
        run = await self._claim(owner)
        if run is not None:
            with about(run.id):
                await self._hold(run, owner)
            gc.collect()  # an error and its trace hold one another, and the clips of the steps that it went through
        return run

    async def _claim(self, owner: str) -> Run | None:
        lease_s, max_claims = self._settings.lease_s, self._settings.max_claims
        claiming = asyncio.ensure_future(asyncio.to_thread(self._store.claim, owner, lease_s, max_claims))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:  # the thread goes on, and a run that it takes must not wait for its lease's end
            with contextlib.suppress(Unavailable):
                if (run := await claiming) is not None:
                    await asyncio.to_thread(self._store.release, run.id, owner)
            raise

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
            await patiently(self._store.heartbeat, self._id, RUNNER)
            await asyncio.sleep(self._settings.lease_s / 3)

    async def _hold(self, run: Run, owner: str) -> None:
        """Carry out ``run`` while its lease is held; stop at once when it is lost or somebody cancels."""
        work = asyncio.create_task(self._carry_out(run), name=run.id)
        try:
            beat = await self._keep_lease(run, owner, work)
            await _stop(work)
            if beat is not Beat.LOST:
                await self._end(run, owner, work)
        except asyncio.CancelledError:  # this process is told to stop: another takes the run at once
            await _stop(work)
            with contextlib.suppress(Unavailable):  # then another takes it when the lease has run out
                await asyncio.to_thread(self._store.release, run.id, owner)
            raise
        finally:
            work.cancel()  # whatever else went wrong, nothing works on without a lease

    async def _keep_lease(self, run: Run, owner: str, work: asyncio.Task[Result]) -> Beat:
        """Prolong the lease until the work is done, and return what the last beat said.

        That is LOST, too, when no beat got through for as long as the lease lasts: another may have the run by now.
        """
        lease_s = self._settings.lease_s
        pause_s, until_s = min(1.0, lease_s / 3), time.monotonic() + lease_s
        while True:
            await asyncio.wait([work], timeout=pause_s)
            is_done, asked_s = work.done(), time.monotonic()
            try:
                beat = await asyncio.to_thread(self._store.beat, run.id, owner, lease_s)
            except Unavailable as error:
                log.warning("no beat for run %s: %s", run.id, error)
                if time.monotonic() >= until_s:
                    return Beat.LOST
                await asyncio.sleep(pause_s)
                continue
            until_s = asked_s + lease_s
            if is_done or beat is not Beat.HELD:
                return beat

    async def _carry_out(self, run: Run) -> Result:
        plan = self._plans.get(run.pipeline)
        if plan is None:
            raise Misconfigured("pipelines", str(Unknown("pipeline", run.pipeline, list(self._plans))))
        async with Scribe(self._store, run.id) as scribe:
            scribe.say("run.started", {"claims": run.claims})
            policy = RunPolicy.model_validate(run.policy)
            # The best attempt may be finished later, from the clips that its gate turned away.
            streaming = replace(self._settings.streaming, is_kept=policy.keep == "best")
            attempts = Attempts(
                run=run,
                bound=plan.bind(inputs_from_json(plan, run.inputs)),
                policy=policy,
                caller=self._caller,
                store=self._store,
                scribe=scribe,
                rules=Rules(step_retries=self._settings.step_retries, streaming=streaming),
                prices=self._reporter.prices,
            )
            return await attempts.carry_out()

    async def _end(self, run: Run, owner: str, work: asyncio.Task[Result]) -> None:
        """Record how the work ended. A run that lost its replicas goes back into the queue."""
        error = None if work.cancelled() else work.exception()
        if isinstance(error, Unavailable):
            log.warning("run %s goes back into the queue: %s", run.id, str(error))  # a kept record keeps no clip
            await patiently(self._store.release, run.id, owner, True)
        elif isinstance(error, Conflict):
            log.warning("run %s has ended elsewhere: %s", run.id, str(error))
        else:
            ending = await self._ending(run, work)
            try:
                report = self._reporter.report(run, ending.state, ending.result)
                report = {**report, "seed_origin": run.seed_origin}
                json.dumps(report, allow_nan=False)
            except Exception as fault:  # noqa: BLE001 - else a run that cannot be reported ends one runner after another
                ending, report = Ending(RunState.FAILED, ending.result, error_json(fault, run.id)), None
            if not await patiently(self._store.finish, run.id, owner, ending.state, report, ending.error):
                log.warning("run %s: the lease was lost before the report was there; a successor writes it", run.id)

    async def _ending(self, run: Run, work: asyncio.Task[Result]) -> Ending:
        error = Cancelled() if work.cancelled() else work.exception()
        if error is None:
            return ending_of(work.result())
        plan = self._plans.get(run.pipeline)
        first = None if plan is None or plan.seed_input is None else run.inputs.get(plan.seed_input)
        seed = functools.partial(seed_of, first, run.policy.get("vary", "seed"))
        # It was cut short: what is known of it is what was remembered.
        attempts = attempts_in(await patiently(self._store.recall, run.id), seed)
        state = RunState.CANCELLED if work.cancelled() else RunState.FAILED
        return Ending(state, Result(tuple(attempts), None, is_accepted=False), error_json(error, run.id))


async def _stop(work: asyncio.Task[Result]) -> None:
    work.cancel()
    await asyncio.wait([work])
