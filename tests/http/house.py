"""A real house behind the API, without Ray: every run is worked on in this process as soon as it is taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

from serve_app.config import AppConfig, LimitsConfig, plans_of
from serve_app.graph.callers import InProcess
from serve_app.graph.host import Place
from serve_app.graph.record import Resources
from serve_app.http.service import Submission
from serve_app.runs.model import Run
from serve_app.runs.queue import Queue
from serve_app.runs.report import Reporter
from serve_app.serving.service import RunService
from serve_app.serving.stores import open_artifacts, open_store, queue_settings


class WorkingService(RunService):
    """A `RunService` that carries out what it takes. ``pipelines`` are names or files."""

    def __init__(self, root: Path, pipelines: Sequence[str], upload_bytes: int = 4 << 20) -> None:
        limits = LimitsConfig(upload_bytes=upload_bytes, clip_bytes=24 << 20)
        config = AppConfig(pipelines=tuple(pipelines), directory=root, limits=limits)
        store, artifacts, plans = open_store(config), open_artifacts(config), plans_of(config)
        super().__init__(store, artifacts, plans, config)
        place = Place("cpu", 1, Resources(), artifacts, config.scratch_path, clip_bytes=config.limits.clip_bytes)
        reporter, caller = Reporter(plans, config.prices), InProcess(lambda deployment: place)
        self._line = Queue(store, plans, caller, reporter, queue_settings(config))

    async def submit(self, run_id: str | None, submission: Submission) -> tuple[Run, bool]:
        """See `Service.submit`; the run starts at once."""
        taken = await super().submit(run_id, submission)
        threading.Thread(target=lambda: asyncio.run(self._line.run_one()), name="runner").start()
        return taken
