"""A replica: one hosted stage behind a Serve handle.

A call is a stream. First come headers, small dicts: ``{"kind": "progress", "done": 3, "of": 8}`` any number of times,
then ``{"kind": "record", ...}`` once. Then comes the value itself, alone, so that the runner can hand its reference on
without ever opening it. (A reference nested in a returned value can be lost:
https://github.com/ray-project/ray/issues/58080.)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from serve_app.config import AppConfig, deployments_of
from serve_app.graph.callers import stopped
from serve_app.graph.host import Host, Place, Signal
from serve_app.serving.resources import assigned, device, gpu_ids, threads
from serve_app.serving.stores import open_artifacts


class Replica:
    """Hosts the stage deployed as ``name``. One call works at a time; one may wait, so that the device never idles."""

    def __init__(self, name: str, config: AppConfig) -> None:
        resources = assigned()
        deployment = deployments_of(config)[name]
        place = Place(
            device="cpu" if deployment.contract.is_cpu_only else device(resources),
            threads=threads(resources),
            resources=resources,
            artifacts=open_artifacts(config),
            scratch=config.scratch_path,
            picture_px=config.limits.picture_px,
        )
        self._contract, self._resources = deployment.contract, resources
        self._host = Host(deployment, place)

    async def facts(self) -> dict[str, Any]:
        """Return the replica's process id, what it holds, and the ids of its GPUs."""
        return {"pid": os.getpid(), **vars(self._resources), "gpu_ids": gpu_ids()}

    async def call(self, node: str, params: dict[str, Any], ports: tuple[str, ...], *values: Any) -> AsyncIterator[Any]:
        """Run the stage: ``values`` belong to ``ports``, in order. Serve resolves references only at the top level."""
        loop, lines, signal = asyncio.get_running_loop(), asyncio.Queue[tuple[int, int] | None](), Signal()
        signal.on_progress = lambda done, of: _put(loop, lines, (done, of))
        checked = self._contract.params.model_validate(params)
        given = dict(zip(ports, values, strict=True))
        work = asyncio.ensure_future(asyncio.to_thread(self._host.call, node, checked, given, signal))
        work.add_done_callback(lambda _: lines.put_nowait(None))
        try:
            while (line := await lines.get()) is not None:
                yield {"kind": "progress", "done": line[0], "of": line[1]}
        except (asyncio.CancelledError, GeneratorExit):
            await stopped(work, signal)
            raise
        called = work.result()
        yield {"kind": "record", "record": called.record.as_json()}
        yield called.value


def _put(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[tuple[int, int] | None], line: tuple[int, int]) -> None:
    loop.call_soon_threadsafe(lines.put_nowait, line)
