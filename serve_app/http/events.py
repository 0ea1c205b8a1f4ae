"""A run's events as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

What has happened is replayed from `Last-Event-ID`, then the stream follows the run and ends after its final event.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serve_app.http.desk import Desk, RunId
from serve_app.http.prefer import slower
from serve_app.http.service import Service
from serve_app.http.wire import from_event
from serve_app.runs.model import Event

BATCH = 200
RETRY_MS = 1000
_LAST = 2**53  # beyond what a run can count to, and within what every store can compare

Seq = Annotated[int | None, Query(ge=0, le=_LAST, description="Only events with a number above this.")]
LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_LAST, description="Goes before `after`.")]


async def stream(
    request: Request, service: Desk, run_id: RunId, after: Seq = None, last_event_id: LastEventId = None
) -> Response:
    """Replay and follow a run's events. 204 when a reconnecting client has them all: it then stops reconnecting."""
    run = await service.get(run_id)
    if last_event_id is not None and run.state.is_final and last_event_id >= run.last_seq:
        return Response(status_code=204)
    seen = after or 0 if last_event_id is None else last_event_id
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would hold events back
    return StreamingResponse(follow(request, service, run_id, seen), headers=headers, media_type="text/event-stream")


async def follow(request: Request, service: Service, run_id: str, seen: int) -> AsyncIterator[str]:
    """Yield every event after ``seen``, heartbeats in silence, until the final event or until the client leaves."""
    limits = service.limits
    yield f"retry: {RETRY_MS}\n\n"
    pause_s, spoke_s = limits.poll_s, time.monotonic()
    while not await request.is_disconnected():
        batch = await service.events(run_id, seen, BATCH)
        for event in batch:
            yield frame(event)
            seen = event.seq
        if len(batch) == BATCH:
            continue
        run = await service.get(run_id)
        if run.state.is_final and seen >= run.last_seq:
            return
        if batch:
            pause_s, spoke_s = limits.poll_s, time.monotonic()
        elif time.monotonic() - spoke_s >= limits.heartbeat_s:
            yield ": still here\n\n"
            spoke_s = time.monotonic()
        await anyio.sleep(pause_s)
        pause_s = slower(pause_s, limits)


def frame(event: Event) -> str:
    """Return one server-sent event; JSON has no line breaks of its own, and a kind with one must not end the frame."""
    kind = " ".join(event.kind.split())
    return f"id: {event.seq}\nevent: {kind}\ndata: {from_event(event).model_dump_json()}\n\n"
