"""A replica: one hosted stage behind a Serve handle.

A call is a stream. First come headers, small dicts: ``{"kind": "started", "held": {...}}`` once the stage's turn has
come, then ``{"kind": "progress", "done": 3, "of": 8}`` and ``{"kind": "charged", ...}`` any number of times, then
``{"kind": "record", ...}`` once. Then, unless its ``has_value`` is false, comes the value itself, alone, so that the
runner can hand its reference on without ever opening it. (A reference nested in a returned value can be lost:
https://github.com/ray-project/ray/issues/58080.)

The chunks of a clip that streams come before the record: ``{"kind": "chunk", "index": 0, "frames": 97}``, then the
chunk, alone. A gate that hands its clip on says so by having no value: the runner has the reference.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from serve_app.config import AppConfig, deployments_of
from serve_app.core.errors import Cancelled
from serve_app.core.media import Clip
from serve_app.graph.callers import stopped
from serve_app.graph.errand import Ticket, unspread
from serve_app.graph.host import Host, Place, Signal
from serve_app.graph.plan import Deployment
from serve_app.serving.affinity import Affine
from serve_app.serving.memory import memory_of
from serve_app.serving.resources import assigned, device, gpu_ids, threads
from serve_app.serving.stores import open_artifacts
from serve_app.telemetry import log

_POLL_S = 0.05


class Replica(Affine):
    """Hosts the stage deployed as ``name``, and those that are colocated with it.

    Each works on one call at a time; one more may wait, so that the device never idles.
    """

    def __init__(self, name: str, config: AppConfig) -> None:
        log.set_up(config.log_format)
        self._resources = assigned()
        known = deployments_of(config)
        members = [known[member].contract for member in config.members_of(name)]
        self._device = "cpu" if all(each.is_cpu_only for each in members) else device(self._resources)
        self._hosts = {member: self._host(known[member], config) for member in config.members_of(name)}

    def _host(self, deployment: Deployment, config: AppConfig) -> Host:
        place = Place(
            device="cpu" if deployment.contract.is_cpu_only else self._device,
            threads=threads(self._resources),
            resources=self._resources,
            artifacts=open_artifacts(config),
            scratch=config.scratch_path,
            picture_px=config.limits.picture_px,
            clip_bytes=config.limits.clip_bytes,
        )
        return Host(deployment, place)

    async def facts(self) -> dict[str, Any]:
        """Return the replica's process id, what it holds, the ids of its GPUs, and what is in its memory."""
        stages = [host.stage for host in self._hosts.values()]
        memory = await asyncio.to_thread(memory_of, stages, self._device, self._resources.gpus)
        return {"pid": os.getpid(), **vars(self._resources), "gpu_ids": gpu_ids(), "memory": memory}

    async def call(self, ticket: Ticket, *values: Any) -> AsyncIterator[Any]:
        """Do an errand of a stage. Serve resolves references among ``values`` only at the top level."""
        await self.remember()
        lines, signal = _Lines(asyncio.get_running_loop()), Signal()
        signal.on_start = lambda held: lines.put({"kind": "started", "held": vars(held)})
        signal.on_charge = lambda charge: lines.put({"kind": "charged", "charge": vars(charge)})
        signal.on_progress = lambda done, of: lines.put({"kind": "progress", "done": done, "of": of})
        signal.on_chunk = lambda *chunk: lines.put_chunk(signal, *chunk)
        host, errand = self._hosts[ticket.deployment], ticket.errand
        params, given = host.contract.params.model_validate(ticket.params), unspread(ticket.layout, values)
        work = asyncio.ensure_future(asyncio.to_thread(host.call, ticket.node, params, given, signal, errand))
        work.add_done_callback(lambda _: lines.close())
        try:
            while (line := await lines.get()) is not None:
                yield line
        except (asyncio.CancelledError, GeneratorExit):
            await stopped(work, signal)
            raise
        called, gated = work.result(), host.contract.gates
        has_value = errand.kind != "stream" and (gated is None or called.value is not given[gated])
        yield {"kind": "record", "record": called.record.as_json(), "has_value": has_value}
        if has_value:
            yield called.value

    async def prepare(self, ticket: Ticket, *values: Any) -> None:
        """Let a stage prepare for ``values``, beside the call that is going on."""
        host = self._hosts[ticket.deployment]
        params = host.contract.params.model_validate(ticket.params)
        await asyncio.to_thread(host.prepare, params, unspread(ticket.layout, values))


class _Lines:
    """From the stage's thread to the stream: headers at once, and a chunk when the one before it has been sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._waiting = loop, asyncio.Queue[Any]()
        self._room = threading.Semaphore(1)

    def put(self, line: Any) -> None:
        """Send ``line`` after all others."""
        self._loop.call_soon_threadsafe(self._waiting.put_nowait, line)

    def put_chunk(self, signal: Signal, index: int, frames: int, chunk: Clip) -> None:
        """Send a chunk after its header. Raises Cancelled while it waits."""
        while not self._room.acquire(timeout=_POLL_S):
            if signal.cancelled.is_set():
                raise Cancelled
        self.put({"kind": "chunk", "index": index, "frames": frames})
        self.put(chunk)

    def close(self) -> None:
        """End the stream when everything has been sent."""
        self._waiting.put_nowait(None)

    async def get(self) -> Any:
        """Return the next line, or None at the end."""
        line = await self._waiting.get()
        if isinstance(line, Clip):
            self._room.release()
        return line
