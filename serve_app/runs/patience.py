"""Waiting for a store that is away: a run at work must not be given up because a database was restarted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from serve_app.core.errors import Unavailable

log = logging.getLogger("greenlight.queue")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def patiently(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Return ``work(*args)``, a store's method run in a thread; while it raises Unavailable, wait and call it again.

    There is no limit: the queue cancels a run, and so this, when its lease could not be prolonged for as long as it
    lasts. What the store did before its answer was lost is done twice, so an event may be recorded twice.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await asyncio.to_thread(work, *args)
        except Unavailable as error:
            log.warning("waiting for the run store: %s", error)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
