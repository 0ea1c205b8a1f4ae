"""The scribe: turns what a walk reports into recorded events, in order, without holding up the event loop."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from serve_app.core.errors import Rejected, Unavailable
from serve_app.graph.plan import Step
from serve_app.graph.record import Called
from serve_app.runs.patience import patiently
from serve_app.runs.store import RunStore

PROGRESS_EVERY_S = 0.2
"""A step's progress is recorded at most this often, but always its first and its last."""


class Scribe:
    """Writes one run's events; the `Watcher` of its walks. Use ``async with``: leaving waits for the last write.

    While the store is away, what is said waits. That the run has ended elsewhere (Conflict) ends the writing; it is
    raised by the next `flush` and on leaving.
    """

    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._lines: asyncio.Queue[tuple[str, dict[str, Any]] | None] = asyncio.Queue()
        self._told_s: dict[str, float] = {}
        self.attempt = 0

    async def __aenter__(self) -> Scribe:
        self._writing = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self._lines.put_nowait(None)
        try:
            await asyncio.wait([self._writing])
        except asyncio.CancelledError:  # nobody waits any longer, so nothing may be written any longer
            self._writing.cancel()
            raise
        failure = self._writing.exception()
        if failure is not None and error is None:
            raise failure

    async def _write(self) -> None:
        while (line := await self._lines.get()) is not None:
            await patiently(self._store.append, self._run_id, *line)
            self._lines.task_done()

    async def flush(self) -> None:
        """Return when everything said so far is recorded; raise what kept it from being so."""
        joined = asyncio.ensure_future(self._lines.join())
        try:
            await asyncio.wait([joined, self._writing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            joined.cancel()
        if self._writing.done():
            self._writing.result()

    def say(self, kind: str, data: dict[str, Any]) -> None:
        """Record an event of this ``kind`` for the attempt at hand."""
        self._lines.put_nowait((kind, {"attempt": self.attempt, **data}))

    def step_started(self, step: Step) -> None:
        """See `Watcher`."""
        self._told_s.pop(step.node, None)
        self.say("step.started", {"node": step.node, "use": step.deployment.name})

    def step_progressed(self, step: Step, done: int, of: int) -> None:
        """See `Watcher`. Thinned out: a denoise step is news, every encoded frame is not."""
        now = time.monotonic()
        if done < of and now - self._told_s.get(step.node, -PROGRESS_EVERY_S) < PROGRESS_EVERY_S:
            return
        self._told_s[step.node] = now
        self.say("step.progress", {"node": step.node, "done": done, "of": of})

    def step_finished(self, step: Step, called: Called) -> None:
        """See `Watcher`."""
        record = called.record
        facts = {"seconds": round(record.seconds, 4), "waited_s": round(record.waited_s, 4), "value": record.value}
        self.say("step.finished", {"node": step.node, **facts, "warnings": list(record.warnings)})

    def step_retried(self, step: Step, error: Unavailable) -> None:
        """See `Watcher`."""
        self.say("step.retried", {"node": step.node, "reason": str(error)})

    def step_rejected(self, step: Step, error: Rejected) -> None:
        """See `Watcher`."""
        self.say("step.rejected", {"node": step.node, **rejection_json(error)})


def rejection_json(error: Rejected) -> dict[str, Any]:
    """Return who turned the clip away, where and why, as JSON values; a value that is no number JSON knows is None."""
    value = error.value if math.isfinite(error.value) else None
    facts = {"detector": error.detector, "frame": error.frame, "value": value, "reason": error.reason}
    return {**facts, "is_final": error.is_final}
