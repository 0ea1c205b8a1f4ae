"""Whoever carries out a sweep for the command line: a server far away, or this process."""

from __future__ import annotations

import asyncio
import base64
import mimetypes
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

import httpx

from serve_app.commands.client import Client, Refused
from serve_app.commands.local import Local
from serve_app.config import AppConfig
from serve_app.core.errors import Unavailable, Unknown
from serve_app.http.service import Upload
from serve_app.http.wire_sweeps import from_sweep
from serve_app.runs.queue import Queue
from serve_app.runs.report import Reporter
from serve_app.runs.sweep import SweepSpec
from serve_app.runs.sweeper import Sweeper
from serve_app.serving.service import describe
from serve_app.serving.stores import queue_settings

_POLL_S = 0.1
_AWAY_S = 60.0
"""A server that is silent for longer is not restarting."""


class Sweeping(Protocol):
    """Takes a sweep and shows how it stands, as `GET /v1/sweeps/{id}` does. A Path among the inputs is a file."""

    def pipeline(self, name: str) -> dict[str, Any]:
        """Return what is known of a pipeline, as `GET /v1/pipelines/{name}` does."""
        ...

    def start(self, sweep_id: str, spec: SweepSpec) -> None:
        """Submit the sweep, or go on with it where it was submitted before."""
        ...

    def look(self, sweep_id: str) -> dict[str, Any]:
        """Return the sweep as it stands."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class RemoteSweeps(Sweeping):
    """Sweeps on a server, which goes on with them when nobody looks."""

    def __init__(self, url: str) -> None:
        self._client, self._is_there = Client(url), False

    def pipeline(self, name: str) -> dict[str, Any]:
        """See `Sweeping.pipeline`."""
        described: dict[str, Any] = self._client.ask("GET", f"/v1/pipelines/{name}")
        return described

    def start(self, sweep_id: str, spec: SweepSpec) -> None:
        """See `Sweeping.start`."""
        try:
            self.look(sweep_id)
        except Refused as error:
            if error.http_status != httpx.codes.NOT_FOUND:
                raise
            self._client.ask("PUT", f"/v1/sweeps/{sweep_id}", with_files(spec, _data_url))

    def look(self, sweep_id: str) -> dict[str, Any]:
        """See `Sweeping.look`. A server that was there and is restarted is waited for."""
        until_s = time.monotonic() + (_AWAY_S if self._is_there else 0.0)
        while True:
            try:
                view: dict[str, Any] = self._client.ask("GET", f"/v1/sweeps/{sweep_id}")
            except Unavailable:
                if time.monotonic() >= until_s:
                    raise
                time.sleep(1.0)
            else:
                self._is_there = True
                return view

    def close(self) -> None:
        """See `Sweeping.close`."""
        self._client.close()


class LocalSweeps(Local):
    """Sweeps in this process. The record stays in ``folder``, so that another process can go on with it."""

    def __init__(self, config: AppConfig, options: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
        super().__init__(config, options, record=folder)
        self._is_over = threading.Event()
        self._line: Future[None] | None = None

    def pipeline(self, name: str) -> dict[str, Any]:
        """See `Sweeping.pipeline`."""
        if name not in self._plans:
            raise Unknown("pipeline", name, list(self._plans))
        return describe(self._plans[name])

    def start(self, sweep_id: str, spec: SweepSpec) -> None:
        """See `Sweeping.start`. The queue and the sweeper work in a thread of their own."""
        try:
            self._store.sweeps.get(sweep_id)
        except Unknown:
            given = spec.model_copy(update=with_files(spec, lambda path: Upload(path.read_bytes(), path.name), tuple))
            asyncio.run(self._service.sweeps.submit(sweep_id, given))
        pool = ThreadPoolExecutor(1, "greenlight-sweep")
        self._line = pool.submit(lambda: asyncio.run(self._work_through(sweep_id)))
        pool.shutdown(wait=False)

    async def _work_through(self, sweep_id: str) -> None:
        reporter = Reporter(self._plans, self._config.prices)
        line = Queue(self._store, self._plans, self._caller, reporter, queue_settings(self._config))
        sweeper = Sweeper(self._store, self._config.limits.queued_runs, _POLL_S)
        line.start()
        sweeper.start()
        try:
            while not (self._is_over.is_set() or self._store.sweeps.get(sweep_id).state.is_final):
                line.check()
                sweeper.check()
                await asyncio.sleep(_POLL_S)
        finally:
            await sweeper.stop()
            await line.stop()

    def look(self, sweep_id: str) -> dict[str, Any]:
        """See `Sweeping.look`."""
        if self._line is not None and self._line.done():
            self._line.result()
        return from_sweep(asyncio.run(self._service.sweeps.get(sweep_id))).model_dump(mode="json")

    def close(self) -> None:
        """See `Sweeping.close`. A run at hand goes back into the queue, where `--resume` finds it."""
        self._is_over.set()
        if self._line is not None:
            wait([self._line])
        super().close()


def with_files(spec: SweepSpec, read: Callable[[Path], Any], listed: Callable[[Any], Any] = list) -> dict[str, Any]:
    """Return the fields of ``spec`` with ``read`` in the place of every Path; ``listed`` makes lists of axes."""

    def say(value: Any) -> Any:
        return read(value) if isinstance(value, Path) else value

    return {
        **{name: getattr(spec, name) for name in type(spec).model_fields},
        "pipelines": listed(spec.pipelines),
        "inputs": {name: say(value) for name, value in spec.inputs.items()},
        "over": {name: listed(say(value) for value in values) for name, values in spec.over.items()},
        "variants": {
            variant: {name: say(value) for name, value in given.items()} for variant, given in spec.variants.items()
        },
    }


def _data_url(path: Path) -> str:
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
