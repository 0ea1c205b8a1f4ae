"""How a step is called. The walk does not know whether its stages live in this process or on a cluster."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from serve_app.core.stage import BULKY, Strict
from serve_app.graph.host import Host, Place, Signal
from serve_app.graph.plan import Deployment, Step
from serve_app.graph.record import Called


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
        """Run one step. Cancelling the awaiting task stops the stage at its next step before this returns.

        Raises GreenlightError; Unavailable when the stage could not be reached or died, and may be called again.
        """
        ...


class InProcess:
    """Calls stages in this process, each loaded at its first call and kept."""

    def __init__(self, place_of: Callable[[Deployment], Place]) -> None:
        self._place_of = place_of
        self._hosts: dict[str, Host] = {}
        self._loading = threading.Lock()  # not asyncio's: the hosts outlive an event loop

    async def call(self, call: Call) -> Called:
        """See `Caller.call`."""
        host = await asyncio.to_thread(self._host, call.step.deployment)
        loop, signal = asyncio.get_running_loop(), Signal()
        signal.on_progress = lambda done, of: _tell(loop, call.on_progress, done, of)
        work = asyncio.ensure_future(asyncio.to_thread(host.call, call.step.node, call.params, call.values, signal))
        return await settled(work, signal)

    def _host(self, deployment: Deployment) -> Host:
        with self._loading:
            if deployment.name not in self._hosts:
                self._hosts[deployment.name] = Host(deployment, self._place_of(deployment))
        return self._hosts[deployment.name]


def _tell(loop: asyncio.AbstractEventLoop, listener: Callable[[int, int], None], done: int, of: int) -> None:
    loop.call_soon_threadsafe(listener, done, of)


async def settled(work: asyncio.Future[Called], signal: Signal) -> Called:
    """Await ``work``; on cancellation tell the stage, and wait until it has really stopped before passing it on.

    A thread cannot be interrupted: leaving earlier would let the next call start while the device still works.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        signal.cancelled.set()
        await asyncio.wait([work])
        work.exception()  # its Cancelled is expected; reading it keeps asyncio from reporting it as lost
        raise
