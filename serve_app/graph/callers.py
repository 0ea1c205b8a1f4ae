"""How a step is called. The walk does not know whether its stages live in this process or on a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from serve_app.core.stage import BULKY, Strict
from serve_app.graph.host import Host, Place, Signal
from serve_app.graph.plan import Deployment, Step
from serve_app.graph.record import Called

_THREADS = 64
"""Calls at once in one process; all but one of each stage's only wait for their turn."""


@dataclass(frozen=True)
class Call:
    """One step with everything it needs: its params in effect, its ports' values, and who hears of its progress."""

    step: Step
    params: Strict
    values: Mapping[str, Any]
    on_progress: Callable[[int, int], None]

    @property
    def is_bulky(self) -> bool:
        """True when the value stays by reference."""
        return issubclass(self.step.deployment.contract.output, BULKY)


class Caller(Protocol):
    """Calls stages, wherever they are."""

    async def call(self, call: Call) -> Called:
        """Run one step. Cancelling the awaiting task stops the stage at its next step.

        Raises GreenlightError; Unavailable when the stage could not be reached or died, and may be called again, and
        InputLost when one of the call's values is gone, so that calling again is no use.
        """
        ...


class InProcess:
    """Calls stages in this process, each loaded at its first call and kept."""

    def __init__(self, place_of: Callable[[Deployment], Place]) -> None:
        self._place_of = place_of
        self._hosts: dict[str, Host] = {}
        self._loading = threading.Lock()  # not asyncio's: the hosts outlive an event loop
        # Not the loop's own threads: a wide graph would leave none to the store, and a lease that nobody prolongs ends.
        self._threads = ThreadPoolExecutor(_THREADS, "greenlight-stage")

    async def call(self, call: Call) -> Called:
        """See `Caller.call`."""
        loop, signal, listener = asyncio.get_running_loop(), Signal(), call.on_progress
        signal.on_progress = lambda done, of: _tell(loop, listener, done, of)
        return await settled(loop.run_in_executor(self._threads, self._work, call, signal), signal)

    def _work(self, call: Call, signal: Signal) -> Called:
        return self._host(call.step.deployment).call(call.step.node, call.params, call.values, signal)

    def _host(self, deployment: Deployment) -> Host:
        with self._loading:
            if deployment.name not in self._hosts:
                self._hosts[deployment.name] = Host(deployment, self._place_of(deployment))
        return self._hosts[deployment.name]


def _tell(loop: asyncio.AbstractEventLoop, listener: Callable[[int, int], None], done: int, of: int) -> None:
    loop.call_soon_threadsafe(listener, done, of)


async def settled(work: asyncio.Future[Called], signal: Signal) -> Called:
    """Await ``work``; when this is cancelled, stop it before the cancellation is passed on."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await stopped(work, signal)
        raise


async def stopped(work: asyncio.Future[Called], signal: Signal) -> None:
    """Tell the stage to stop at its next step, and return when it has: the device is not free before.

    A thread cannot be interrupted, so being cancelled once more, by a deadline after a person, changes nothing.
    """
    signal.cancelled.set()
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    work.exception()  # how a cancelled stage ends is nobody's concern; asyncio would report it as never looked at
