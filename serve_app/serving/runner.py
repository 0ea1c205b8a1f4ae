"""The runner: the queue's working end as a Serve deployment. Any number of replicas; a dead one's leases run out."""

from __future__ import annotations

from ray.serve.handle import DeploymentHandle

from serve_app.config import AppConfig, plans_of
from serve_app.runs.queue import Queue
from serve_app.runs.report import Reporter
from serve_app.runs.sweeper import Sweeper
from serve_app.serving.handles import ServeCaller
from serve_app.serving.stores import open_store, queue_settings
from serve_app.telemetry import log


class Runner:
    """Claims runs from the store, walks their plans over ``handles``, and keeps the cells of sweeps coming.

    Holds references to frames, never frames.
    """

    def __init__(self, config: AppConfig, handles: dict[str, DeploymentHandle]) -> None:
        log.set_up(config.log_format)
        self._config, self._handles = config, handles
        self._queue: Queue | None = None
        self._sweeper: Sweeper | None = None

    async def start(self) -> None:
        """Begin to claim, once."""
        if self._queue is None:
            plans = plans_of(self._config)
            reporter = Reporter(plans, self._config.prices)
            store, caller = open_store(self._config), ServeCaller(self._handles)
            self._queue = Queue(store, plans, caller, reporter, queue_settings(self._config))
            self._queue.start()
            self._sweeper = Sweeper(store, self._config.limits.queued_runs)
            self._sweeper.start()

    async def check_health(self) -> None:
        """Start the queue at the first health check (the constructor has no event loop); fail when it has died."""
        await self.start()
        if self._queue is not None:
            self._queue.check()
        if self._sweeper is not None:
            self._sweeper.check()

    async def __del__(self) -> None:
        if self._sweeper is not None:
            await self._sweeper.stop()
        if self._queue is not None:
            await self._queue.stop()
