"""How a step is called. The walk does not know whether its stages live in this process or on a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from serve_app.core.stage import BULKY, Strict
from serve_app.graph.errand import RUN, Errand
from serve_app.graph.host import Host, Place, Signal
from serve_app.graph.plan import Deployment, Step
from serve_app.graph.record import Called, Charge, Resources

T = TypeVar("T")

_THREADS = 64
"""Calls at once in one process; all but one of each stage's only wait for their turn, and some prepare."""


@dataclass(frozen=True)
class Call:
    """One step with everything it needs: its params in effect, its ports' values, and who hears of its progress.

    ``on_start`` hears what the stage holds when it begins, for then waiting in line is over; ``on_charge`` what it pays
    to others, as soon as it does; ``on_chunk`` gets each chunk of a stream (which, frames in all, the chunk by
    reference). All are called on the event loop.
    """

    step: Step
    params: Strict
    values: Mapping[str, Any]
    on_progress: Callable[[int, int], None]
    warnings: tuple[str, ...] = ()
    """What is to be read in the step's record before its own warnings."""
    on_start: Callable[[Resources], None] = lambda held: None
    on_charge: Callable[[Charge], None] = lambda charge: None
    errand: Errand = RUN
    on_chunk: Callable[[int, int, Any], None] = lambda index, frames, chunk: None

    @property
    def is_bulky(self) -> bool:
        """True when the value stays by reference."""
        return self.errand.kind == "part" or issubclass(self.step.deployment.contract.output, BULKY)


class Caller(Protocol):
    """Calls stages, wherever they are."""

    async def call(self, call: Call) -> Called:
        """Run one step. Cancelling the awaiting task stops the stage at its next step.

        Raises GreenlightError; Unavailable when the stage could not be reached or died, and may be called again, and
        InputLost when one of the call's values is gone, so that calling again is no use.
        """
        ...

    async def prepare(self, call: Call) -> None:
        """Let the step's stage prepare for what ``call`` has of its ports. Raises what `call` does.

        When the awaiting task is cancelled, nobody waits for the stage.
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
        signal.on_start = lambda held: _hand(loop, call.on_start, held)
        signal.on_charge = lambda charge: _hand(loop, call.on_charge, charge)
        signal.on_chunk = lambda *chunk: _pass_on(loop, call.on_chunk, chunk)
        return await settled(loop.run_in_executor(self._threads, self._work, call, signal), signal)

    async def prepare(self, call: Call) -> None:
        """See `Caller.prepare`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(
            self._threads, lambda: self._host(call.step.deployment).prepare(call.params, call.values)
        )

    def _work(self, call: Call, signal: Signal) -> Called:
        host = self._host(call.step.deployment)
        return warned(host.call(call.step.node, call.params, call.values, signal, call.errand), call)

    def _host(self, deployment: Deployment) -> Host:
        with self._loading:
            if deployment.name not in self._hosts:
                self._hosts[deployment.name] = Host(deployment, self._place_of(deployment))
        return self._hosts[deployment.name]


def _tell(loop: asyncio.AbstractEventLoop, listener: Callable[[int, int], None], done: int, of: int) -> None:
    loop.call_soon_threadsafe(listener, done, of)


def _hand(loop: asyncio.AbstractEventLoop, listener: Callable[[T], None], word: T) -> None:
    loop.call_soon_threadsafe(listener, word)


def _pass_on(
    loop: asyncio.AbstractEventLoop, listener: Callable[[int, int, Any], None], chunk: tuple[int, int, Any]
) -> None:
    loop.call_soon_threadsafe(listener, *chunk)


def warned(called: Called, call: Call) -> Called:
    """Return what a step made, with the call's warnings in its record, before its own."""
    if not call.warnings:
        return called
    return replace(called, record=replace(called.record, warnings=(*call.warnings, *called.record.warnings)))


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
