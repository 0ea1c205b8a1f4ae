"""The route table: every address of the API, who answers, and what else it may answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve_app.core.errors import InvalidInput, Unknown
from serve_app.http import (
    adapters,
    artifacts,
    endpoints,
    events,
    facts,
    house,
    judgements,
    metrics,
    models,
    runs,
    sweeps,
)
from serve_app.http.endpoint_table import ENDPOINTS, UNSERVED
from serve_app.http.problems import MEDIA_TYPE
from serve_app.http.wire import EventView, JudgementView, RunView, SubmissionBody
from serve_app.http.wire_sweeps import SweepView
from serve_app.runs.sweep import SweepSpec

_RUN = "/v1/runs/{run_id}"
_SWEEP = "/v1/sweeps/{sweep_id}"


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
    takes_sweep: bool = False
    takes_file: bool = False
    takes: Mapping[str, Any] | None = None  # the schema of a JSON body of its own
    query: tuple[str, ...] = ()
    tells_facts: bool = False  # its good answers have `facts.HEADERS`


_SUBMIT = (400, 404, 409, 413, 415, 422, 429)
_FILE = (400, 404, 416, 422)

TABLE = (
    Entry("POST", "/v1/runs", runs.create, _SUBMIT, 202, (201,), takes_run=True, tells_facts=True),
    Entry("PUT", _RUN, runs.put, _SUBMIT, 202, (200, 201), takes_run=True, tells_facts=True),
    Entry("GET", "/v1/runs", runs.index, (422,), query=("limit", "cursor", "state", "pipeline")),
    Entry("GET", _RUN, runs.show, (404, 422), tells_facts=True),
    Entry("POST", f"{_RUN}/cancel", runs.cancel, (404, 409, 422), 202, (200,)),
    Entry("GET", f"{_RUN}/events", events.stream, (404, 422), 200, (204,), gives="text/event-stream", query=("after",)),
    Entry("GET", f"{_RUN}/artifacts", artifacts.index, (404, 422)),
    Entry(
        "GET", f"{_RUN}/artifacts/{{name}}", artifacts.download, _FILE, 200, (206, 304), gives="*/*", tells_facts=True
    ),
    Entry("POST", "/v1/sweeps", sweeps.create, _SUBMIT, 202, takes_sweep=True),
    Entry("PUT", _SWEEP, sweeps.put, _SUBMIT, 202, (200,), takes_sweep=True),
    Entry("GET", "/v1/sweeps", sweeps.index, (422,), query=("limit", "cursor")),
    Entry("GET", _SWEEP, sweeps.show, (404, 422)),
    Entry("POST", f"{_SWEEP}/cancel", sweeps.cancel, (404, 409, 422), 202, (200,)),
    Entry("POST", "/v1/judgements", judgements.create, _SUBMIT, 200, (202,), takes_file=True),
    Entry("GET", "/v1/pipelines", house.pipelines, ()),
    Entry("GET", "/v1/pipelines/{name}", house.pipeline, (404, 422)),
    Entry("GET", "/v1/adapters", adapters.index, ()),
    Entry("GET", "/v1/models", models.index, ()),
    Entry("GET", "/v1/models/{name}", models.show, (404, 422)),
    Entry("GET", "/healthz", house.healthz, ()),
    Entry("GET", "/readyz", house.readyz, (503,)),
    Entry("GET", "/metrics", metrics.scrape, (503,), gives="text/plain"),
    Entry("GET", "/problems/{code}", house.problem_type, (404, 422)),
    *(
        Entry(
            "POST",
            each.path,
            endpoints.handler_of(each),
            _SUBMIT,
            202,
            (200, 201),
            takes=endpoints.schema_of(each),
            tells_facts=True,
        )
        for each in ENDPOINTS
    ),
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
            openapi_extra=_body(entry),
            operation_id=_operation(entry),
            tags=[entry.path.strip("/").removeprefix("v1/").split("/")[0]],
            dependencies=[Depends(_known_query(entry.query))],
        )
        if entry.method == "GET" and entry.handler is not events.stream:
            app.add_api_route(entry.path, entry.handler, methods=["HEAD"], include_in_schema=False)
    for path, reason in UNSERVED.items():
        app.add_api_route(path, endpoints.refusal_of(path, reason), methods=["POST"], include_in_schema=False)


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
        if entry.takes is not None:
            answers[status]["model"] = endpoints.EndpointView
        if entry.handler is judgements.create:
            answers[status]["model"] = JudgementView
        if entry.handler in (sweeps.put, sweeps.cancel):
            answers[status]["model"] = SweepView
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
    if entry.tells_facts:
        for status in (entry.status, *entry.also):
            answers.setdefault(status, {})["headers"] = _FACTS
    return answers


def _body(entry: Entry) -> dict[str, Any] | None:
    if entry.takes_file:
        return _FILE_BODY
    if entry.takes is not None:
        return {"parameters": [_PREFER, _KEY], "requestBody": _json_body(entry.takes)}
    return _SUBMISSION if entry.takes_run else _SWEEP_BODY if entry.takes_sweep else None


def _json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": dict(schema)}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_FACTS = {name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in facts.HEADERS.items()}
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
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 257},
    "description": "On POST: the same key and the same body are the same run or sweep; another body under it is a 409.",
}
_SUBMISSION: dict[str, Any] = {
    "parameters": [_PREFER, _KEY],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _ref(SubmissionBody.__name__)},
            "multipart/form-data": {"schema": _FORM},
        },
    },
}
_SWEEP_BODY: dict[str, Any] = {
    "parameters": [_KEY],
    "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(SweepSpec.__name__)}}},
}
_FILE_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "A picture or a video."},
        "reference": {"type": "string", "format": "binary", "description": "The picture that a video was made from."},
        "face_box": {"type": "string", "description": "`x,y,width,height` of the face in shares of the frame."},
        "null_clips": {"type": "integer", "description": "Legitimate clips to learn the picture by."},
    },
    "additionalProperties": False,
}
_FILE_BODY: dict[str, Any] = {
    "parameters": [_PREFER, _KEY],
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FILE_FORM}}},
}
