"""Carrying out a run in this process: the same plan, queue and report as on Serve, without Serve.

The run's record is in a file of its own that goes with the process. In the store of a server, the server's runners
would take the run up, and this process would take up runs of pipelines that it does not know.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from serve_app.commands.followed import Followed, Happening
from serve_app.config import AppConfig, plans_of
from serve_app.core.errors import Unknown
from serve_app.graph.callers import InProcess
from serve_app.graph.host import Place
from serve_app.graph.plan import Deployment
from serve_app.graph.record import Resources
from serve_app.http.service import Submission, Upload
from serve_app.runs.queue import Queue
from serve_app.runs.report import Reporter
from serve_app.serving.service import RunService
from serve_app.serving.stores import at_home, open_artifacts, open_store, queue_settings

_POLL_S = 0.05


class Local(Followed):
    """Follows runs in this process. ``options`` are the profile's Ray actor options per deployment, for their CPUs.

    ``record``: the folder in which the runs' record and artifacts stay; without one, the record goes with the process.
    """

    def __init__(self, config: AppConfig, options: Mapping[str, Mapping[str, Any]], record: Path | None = None) -> None:
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix="greenlight-")
        home = (record or Path(self._folder.name)).absolute()
        kept = {} if record is None else {"artifacts_directory": home / "artifacts"}
        self._config = at_home(config).model_copy(update={"store_url": f"sqlite:///{home / 'runs.db'}", **kept})
        self._working: dict[str, Future[None]] = {}
        self._store, self._artifacts = open_store(self._config), open_artifacts(self._config)
        self._plans = plans_of(self._config)
        self._caller = InProcess(self._place)
        self._service = RunService(self._store, self._artifacts, self._plans, self._config, self._holdings)

    def submit(self, pipeline: str, inputs: Mapping[str, Any], policy: Mapping[str, Any]) -> str:
        """See `Followed.submit`."""
        given = {
            name: Upload(value.read_bytes(), value.name) if isinstance(value, Path) else value
            for name, value in inputs.items()
        }
        run, _ = asyncio.run(self._service.submit(None, Submission(pipeline, given, policy)))
        return run.id

    def follow(self, run_id: str) -> Iterator[Happening]:
        """See `Followed.follow`. The queue works in a thread of its own."""
        pool = ThreadPoolExecutor(1, "greenlight-queue")
        working = self._working[run_id] = pool.submit(lambda: asyncio.run(self._work(run_id)))
        pool.shutdown(wait=False)
        last, is_over = 0, False
        while not is_over:
            events = self._store.events(run_id, last)
            for event in events:
                last, happening = event.seq, Happening(event.kind, event.data)
                is_over = happening.is_final
                yield happening
            if not events:
                if working.done():
                    working.result()
                time.sleep(_POLL_S)

    async def _work(self, run_id: str) -> None:
        reporter = Reporter(self._plans, self._config.prices)
        line = Queue(self._store, self._plans, self._caller, reporter, queue_settings(self._config))
        while not self._store.get(run_id).state.is_final:
            await line.run_one()

    def _holdings(self) -> dict[str, tuple[Resources]]:
        used = {step.deployment.name: step.deployment for plan in self._plans.values() for step in plan.steps}
        return {name: (self._held(deployment)[1],) for name, deployment in used.items()}

    def _held(self, deployment: Deployment) -> tuple[str, Resources]:
        options = self._options.get(self._config.host_of(deployment.name), {})
        cpus, gpus = float(options.get("num_cpus", 1)), float(options.get("num_gpus", 0))
        device, accelerator = _device(gpus)
        return device, Resources(cpus=cpus, gpus=gpus if device == "cuda" else 0.0, accelerator=accelerator)

    def _place(self, deployment: Deployment) -> Place:
        device, resources = self._held(deployment)
        threads = max(1, int(resources.cpus))
        limits = self._config.limits
        artifacts, scratch = self._artifacts, self._config.scratch_path
        return Place(device, threads, resources, artifacts, scratch, limits.picture_px, limits.clip_bytes)

    def cancel(self, run_id: str) -> None:
        """See `Followed.cancel`."""
        self._store.cancel(run_id)

    def report(self, run_id: str) -> dict[str, Any]:
        """See `Followed.report`."""
        report = self._store.get(run_id).report
        if report is None:
            raise Unknown("report", run_id)
        return report

    def fetch(self, run_id: str, name: str, target: Path) -> None:
        """See `Followed.fetch`."""
        _, path = asyncio.run(self._service.artifact(run_id, name))
        shutil.copyfile(path, target)

    def close(self) -> None:
        """See `Followed.close`. A run that still works is cancelled and waited for: it writes into the store."""
        for run_id, working in self._working.items():
            if not working.done():
                self._store.cancel(run_id)
                wait([working])
        self._store.close()
        self._folder.cleanup()


def _device(gpus: float) -> tuple[str, str | None]:
    """Return the device for a stage that wants ``gpus``, and the accelerator's name."""
    if gpus <= 0:
        return "cpu", None
    import torch

    return ("cuda", torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ("cpu", None)
