"""`Prefer: wait=N` (RFC 7240): hold the answer until the run has ended, for at most N seconds."""

from __future__ import annotations

import re
import time

import anyio
from starlette.requests import Request

from serve_app.http.service import Limits, Service
from serve_app.runs.model import Run

_WAIT = re.compile(r"\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:;.*)?", re.ASCII | re.IGNORECASE)
_GROWTH = 1.5


def wait_s(request: Request, limits: Limits) -> int | None:
    """Return how long the caller would wait, cut to the server's limit; None without the preference.

    RFC 7240 section 2 has a server ignore what it does not understand; what it followed is in `Preference-Applied`.
    """
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        match = _WAIT.fullmatch(preference)
        if match is not None:
            return min(int(match[1]), int(limits.wait_s))
    return None


async def wait_for_end(request: Request, service: Service, run: Run, seconds: float) -> Run:
    """Return the run when it has ended, when ``seconds`` are over, or when the caller has gone."""
    until = time.monotonic() + seconds
    pause_s = service.limits.poll_s
    while not run.state.is_final and (left_s := until - time.monotonic()) > 0:
        await anyio.sleep(min(pause_s, left_s))
        if await request.is_disconnected():
            return run
        run = await service.get(run.id)
        pause_s = slower(pause_s, service.limits)
    return run


def slower(pause_s: float, limits: Limits) -> float:
    """Return the next pause while nothing happens."""
    return min(pause_s * _GROWTH, limits.slowest_poll_s)
