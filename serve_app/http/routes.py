"""The route table: every address of the API, who answers, and what else it may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve_app.core.errors import InvalidInput, Unknown
from serve_app.http import artifacts, events, house, runs
from serve_app.http.problems import MEDIA_TYPE
from serve_app.http.wire import EventView, RunView, SubmissionBody

_RUN = "/v1/runs/{run_id}"


@dataclass(frozen=True)
class Entry:
    """One route: ``problems`` are the error statuses it may answer with, ``also`` its other good answers."""

    method: str
    path: str
    handler: Callable[..., Any]
    problems: tuple[int, ...]
    status: int = 200
    also: tuple[int, ...] = ()
    gives: str | None = None  # the media type, where it is not JSON
    takes_run: bool = False
    query: tuple[str, ...] = ()


_SUBMIT = (400, 404, 409, 413, 415, 422, 429)

TABLE = (
    Entry("POST", "/v1/runs", runs.create, _SUBMIT, 202, (201,), takes_run=True),
    Entry("PUT", _RUN, runs.put, _SUBMIT, 202, (200, 201), takes_run=True),
    Entry("GET", "/v1/runs", runs.index, (422,), query=("limit", "cursor", "state", "pipeline")),
    Entry("GET", _RUN, runs.show, (404, 422)),
    Entry("POST", f"{_RUN}/cancel", runs.cancel, (404, 409, 422), 202, (200,)),
    Entry("GET", f"{_RUN}/events", events.stream, (404, 422), 200, (204,), gives="text/event-stream", query=("after",)),
    Entry("GET", f"{_RUN}/artifacts", artifacts.index, (404, 422)),
    Entry("GET", f"{_RUN}/artifacts/{{name}}", artifacts.download, (400, 404, 416, 422), 200, (206, 304), gives="*/*"),
    Entry("GET", "/v1/pipelines", house.pipelines, ()),
    Entry("GET", "/v1/pipelines/{name}", house.pipeline, (404, 422)),
    Entry("GET", "/healthz", house.healthz, ()),
    Entry("GET", "/readyz", house.readyz, (503,)),
    Entry("GET", "/problems/{code}", house.problem_type, (404, 422)),
)


def add_to(app: FastAPI) -> None:
    """Add the whole table to ``app``. What has GET has HEAD (RFC 9110 section 9.1), except the endless stream."""
    for entry in TABLE:
        app.add_api_route(
            entry.path,
            entry.handler,
            methods=[entry.method],
            status_code=entry.status,
            responses=_responses(entry),
            response_class=JSONResponse if entry.gives is None else Response,
            openapi_extra=_SUBMISSION if entry.takes_run else None,
            operation_id=_operation(entry),
            tags=[entry.path.strip("/").removeprefix("v1/").split("/")[0]],
            dependencies=[Depends(_known_query(entry.query))],
        )
        if entry.method == "GET" and entry.handler is not events.stream:
            app.add_api_route(entry.path, entry.handler, methods=["HEAD"], include_in_schema=False)


def _known_query(names: tuple[str, ...]) -> Callable[[Request], None]:
    """Return a dependency that refuses a query parameter nobody would read."""

    def check(request: Request) -> None:
        for name in request.query_params:
            if name not in names:
                raise InvalidInput(name[:100], Unknown("query", name[:100], names).reason)

    return check


def _operation(entry: Entry) -> str:
    return f"{entry.handler.__module__.rpartition('.')[2]}_{entry.handler.__name__}"


def _responses(entry: Entry) -> dict[int | str, dict[str, Any]]:
    """Describe every answer but the usual one, which FastAPI reads off the handler's return type."""
    answers: dict[int | str, dict[str, Any]] = {}
    for status in entry.also:
        answers[status] = {"description": HTTPStatus(status).phrase}
        if entry.handler in (runs.create, runs.put, runs.cancel):
            answers[status]["model"] = RunView
    for status in (*entry.problems, 500):
        answers[status] = {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
        }
    if entry.gives is not None:
        schema = (
            _ref(EventView.__name__) if entry.gives == "text/event-stream" else {"type": "string", "format": "binary"}
        )
        answers[entry.status] = {"description": "OK", "content": {entry.gives: {"schema": schema}}}
    return answers


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_FORM = {
    "type": "object",
    "description": "A part `request` (JSON, the same body) or the fields `pipeline` and `policy` (JSON); and one part "
    "per input, `inputs.<name>` or `<name>`: a file for a picture, otherwise text of the declared type.",
    "properties": {
        "request": {"type": "string", "contentMediaType": "application/json"},
        "pipeline": {"type": "string"},
        "policy": {"type": "string", "contentMediaType": "application/json"},
    },
    "additionalProperties": {"type": "string"},
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string", "examples": ["wait=30"]},
    "description": "`wait=N` (RFC 7240) holds the answer until the run has ended, for at most N seconds.",
}
_SUBMISSION: dict[str, Any] = {
    "parameters": [_PREFER],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _ref(SubmissionBody.__name__)},
            "multipart/form-data": {"schema": _FORM},
        },
    },
}
