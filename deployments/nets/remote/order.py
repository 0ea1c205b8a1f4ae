"""Sending what may cost money, once: written down before, watched for a cancelled run meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from deployments.nets.remote.journal import Entry, Journal
from deployments.nets.remote.server import Ask, Server
from serve_app.core.errors import BadRequest, Cancelled, Misconfigured, StageFailed, Unavailable
from serve_app.core.stage import Context

T = TypeVar("T")

_LOOK_S = 0.1
"""How often a cancelled run is looked for."""


async def watched(work: Coroutine[Any, Any, T], context: Context) -> T:
    """Await ``work``; when the run is cancelled meanwhile, break it off and raise Cancelled."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            context.check()
            await asyncio.wait([task], timeout=_LOOK_S)
        return task.result()
    finally:
        task.cancel()


async def pause(seconds: float, context: Context) -> None:
    """Wait; raise Cancelled when the run is cancelled meanwhile."""
    await watched(asyncio.sleep(seconds), context)


async def order(
    server: Server, journal: Journal, ask: Ask, context: Context, stage: str
) -> tuple[Entry, dict[str, Any]]:
    """Return the entry of ``ask`` and the server's answer to it, after writing down that it was sent.

    The entry stays where nobody knows whether the server took it; what follows an answer is the caller's. Raises
    StageFailed also where the same request was sent before and its answer never came, to a server that does not
    honour `Idempotency-Key`.
    """
    entry = journal.read(ask.key)
    if entry is not None and not server.is_idempotent:
        reason = "the same request was sent before and its answer never came; a second one may cost a second time"
        raise StageFailed(stage, "Unanswered", reason)
    entry = entry or journal.begin(ask.key)
    try:
        return entry, await watched(server.order(ask, f"{ask.key}-{entry.nonce}"), context)
    except Unavailable:
        if not server.is_idempotent:  # it was not taken: a server that honours keys may have been, and is asked again
            journal.forget(ask.key)
        raise
    except (BadRequest, Misconfigured, Cancelled):  # it was not taken, or nobody wants it any more
        journal.forget(ask.key)
        raise
