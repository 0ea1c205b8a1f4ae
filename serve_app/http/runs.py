"""Runs over HTTP: submit, look up, list, cancel."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from serve_app.http.body import read_submission
from serve_app.http.desk import Base, Desk, RunId
from serve_app.http.facts import headers_of
from serve_app.http.idempotency import run_id_of
from serve_app.http.prefer import wait_for_end, wait_s
from serve_app.http.service import ListQuery, Service, Submission
from serve_app.http.wire import RunList, RunView, from_page, from_run
from serve_app.runs.model import Run, RunState


class ListParameters(BaseModel):
    """The query of GET /v1/runs; an unknown parameter is an error."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=500, description="`next_cursor` of the page before.")
    state: RunState | None = None
    pipeline: str | None = Field(default=None, max_length=200)


async def create(request: Request, response: Response, service: Desk, base: Base) -> RunView:
    """Submit a run under an id of ours. With an `Idempotency-Key`, sending it again is the same run, as with PUT."""
    return await _submit(request, response, service, base, run_id_of(request))


async def put(request: Request, response: Response, service: Desk, base: Base, run_id: RunId) -> RunView:
    """Submit a run under your id. The same request again is the same run (200); another one under that id is a 409."""
    return await _submit(request, response, service, base, run_id)


async def _submit(request: Request, response: Response, service: Service, base: str, run_id: str | None) -> RunView:
    run = await carry_out(request, response, service, run_id, await read_submission(request, service))
    view = from_run(run, base)
    response.headers["Location"] = view.links.self
    return view


async def carry_out(
    request: Request, response: Response, service: Service, run_id: str | None, submission: Submission
) -> Run:
    """Submit a run, wait as `Prefer` has it, and set the answer's status and headers, but for its Location."""
    run, is_new = await service.submit(run_id, submission)
    seconds = wait_s(request, service.limits)
    if seconds:
        run = await wait_for_end(request, service, run, seconds)
        response.headers["Preference-Applied"] = f"wait={seconds}"
    response.status_code = (201 if run.state.is_final else 202) if is_new else 200
    response.headers.update(headers_of(run))
    return run


async def show(response: Response, service: Desk, base: Base, run_id: RunId) -> RunView:
    """Return a run as it stands."""
    run = await service.get(run_id)
    response.headers.update(headers_of(run))
    return from_run(run, base)


async def index(service: Desk, base: Base, asked: Annotated[ListParameters, Query()]) -> RunList:
    """Return runs, newest first."""
    return from_page(await service.list(ListQuery(asked.limit, asked.cursor, asked.state, asked.pipeline)), base)


async def cancel(response: Response, service: Desk, base: Base, run_id: RunId) -> RunView:
    """Cancel a run: 202 while it stops at its next step, 200 when it is cancelled, 409 when it ended otherwise."""
    run = await service.cancel(run_id)
    response.status_code = 200 if run.state.is_final else 202
    return from_run(run, base)
