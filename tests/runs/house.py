"""A queue with its store and its stages in one directory, for tests; and seeds whose clips are dark or bright."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from serve_app.graph.callers import Caller
from serve_app.runs.ledger import Prices
from serve_app.runs.model import Run, RunRequest
from serve_app.runs.queue import Queue, QueueSettings
from serve_app.runs.report import Reporter
from serve_app.runs.sql import SqlRunStore
from tests.graph.stages import Counting, bright, in_process

DARK, BRIGHT = 10, 200


class House:
    """A store, a queue and its stages in one directory; ``open`` it again to play a process after a crash."""

    def __init__(
        self,
        root: Path,
        caller: Caller | None = None,
        lease_s: float = 5.0,
        store: SqlRunStore | None = None,
        prices: Prices | None = None,
    ) -> None:
        self.plan = bright()
        self.store = store or SqlRunStore(f"sqlite:///{root / 'runs.db'}")
        self.caller = Counting(caller or in_process(root))
        settings = QueueSettings(lease_s=lease_s, poll_s=0.01, step_retries=1, max_claims=2)
        reporter = Reporter({self.plan.name: self.plan}, prices or Prices())
        self.queue = Queue(self.store, {self.plan.name: self.plan}, self.caller, reporter, settings)

    def submit(self, seed: int, policy: dict[str, Any] | None = None, **inputs: Any) -> str:
        """Record a run as the service would."""
        bound = self.plan.bind({"seed": seed, **inputs})
        run_policy = {**self.plan.policy.model_dump(), **(policy or {})}
        run, _ = self.store.add(RunRequest(f"run-{seed}", self.plan.name, dict(bound.inputs), run_policy), 10)
        return run.id

    def work(self) -> None:
        """Carry out the next run."""
        asyncio.run(self._work())

    async def _work(self) -> None:
        await self.queue.run_one()

    def steps(self, run_id: str, attempt: int) -> list[str]:
        """Return the nodes that an attempt's report has, in order of time."""
        return [step["node"] for step in self.ended(run_id)[1]["attempts"][attempt - 1]["steps"]]

    def ended(self, run_id: str) -> tuple[Run, dict[str, Any]]:
        """Return a run and its report."""
        run = self.store.get(run_id)
        assert run.report is not None, run
        return run, run.report

    def kinds(self, run_id: str) -> list[str]:
        """Return the kinds of a run's events."""
        return [event.kind for event in self.store.events(run_id)]
