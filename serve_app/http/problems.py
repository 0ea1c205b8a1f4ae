"""Every error as an RFC 9457 problem document. The family is mapped once, by the error's class; no handler tries.

Errors of 500 and above say nothing of the inside: they carry an incident id, under which the log says what happened.
"""

from __future__ import annotations

import logging
import re
from functools import singledispatch
from http import HTTPStatus
from uuid import uuid4

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from serve_app.core.errors import BadRequest, Busy, GreenlightError, Unavailable
from serve_app.http import request_id
from serve_app.http.desk import base_of
from serve_app.http.wire import FieldError, Problem, ProblemType

MEDIA_TYPE = "application/problem+json"
UNAVAILABLE_RETRY_S = 5

_log = logging.getLogger("greenlight.http")


def install(app: FastAPI) -> None:
    """Have every error of ``app`` answered here, the router's own and the unforeseen included."""
    for kind in (GreenlightError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(ClientDisconnect, _nobody_listens)


async def answer(request: Request, error: Exception) -> Response:
    """Return the problem document for ``error``, and log it when it is our fault."""
    problem = problem_of(error)
    at = base_of(request) + problem.type if problem.type.startswith("/") else problem.type
    problem = problem.model_copy(update={"type": at, "run_id": request.path_params.get("run_id")})
    request.state.problem = problem.code  # for the traffic's counters
    if problem.status >= 500:
        incident = uuid4().hex
        _log.error(
            "incident %s, request %s: %s %s",
            incident,
            request_id.of(request),
            request.method,
            request.url.path,
            exc_info=error,
        )
        problem = problem.model_copy(update={"incident": incident})
    return respond(problem, _headers(request, error))


def respond(problem: Problem, headers: dict[str, str]) -> Response:
    """Return ``problem`` as a response; absent members are left out, never null."""
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, problem.status, {"Cache-Control": "no-store", **headers}, MEDIA_TYPE)


def plain(status: int, detail: str) -> Problem:
    """Return a problem that its HTTP status says enough about; RFC 9457 calls its type ``about:blank``."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    code = title.lower().replace(" ", "_").replace("'", "").replace("-", "_")
    return Problem(type="about:blank", title=title, status=status, detail=detail, code=code)


_TITLES = {413: "Content Too Large", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}
"""RFC 9110's words, which Python's ``http`` module has from 3.13 on: a code must not depend on the interpreter."""


@singledispatch
def problem_of(error: Exception) -> Problem:
    """Return what the caller may know of ``error``; of an unforeseen one that is nothing."""
    return plain(500, "Something went wrong inside. The incident id names the log entry.")


@problem_of.register
def _(error: GreenlightError) -> Problem:
    is_ours = error.status >= 500
    return Problem(
        type=f"/problems/{error.code}",
        title=_title(type(error)),
        status=error.status,
        detail="Something inside is not as it should be. The incident id names the log entry."
        if is_ours
        else str(error),
        code=error.code,
        field=None if is_ours else error.field,
        hint=error.hint or None,
    )


@problem_of.register
def _(error: HTTPException) -> Problem:
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:  # the router's own, which says nothing
        detail = {404: "There is nothing at this address.", 405: "This address does not take that method."}.get(
            error.status_code, detail
        )
    return plain(error.status_code, detail)


@problem_of.register
def _(error: RequestValidationError) -> Problem:
    faults = [FieldError(field=_field(fault["loc"]), reason=_reason(fault)) for fault in error.errors()]
    return Problem(
        type="/problems/invalid_input",
        title="Invalid input",
        status=422,
        detail=f"{faults[0].field}: {faults[0].reason}",
        code="invalid_input",
        field=faults[0].field,
        hint=BadRequest.hint,
        errors=faults,
    )


def _field(location: tuple[str | int, ...]) -> str:
    """Drop where the field came from (path, query, header, body), except where the whole body is meant."""
    return ".".join(str(step) for step in location[1:]) or str(location[0])


def _reason(fault: dict[str, str]) -> str:
    return "there is no such field" if fault["type"] == "extra_forbidden" else fault["msg"]


def _headers(request: Request, error: Exception) -> dict[str, str]:
    headers = {request_id.HEADER: request_id.of(request)}  # an unforeseen error is answered outside that middleware
    if isinstance(error, HTTPException):
        headers |= error.headers or {}
        if error.status_code == 405:
            headers["Allow"] = ", ".join(allowed(request))
    elif isinstance(error, Busy):
        headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, Unavailable):
        headers["Retry-After"] = str(UNAVAILABLE_RETRY_S)
    return headers


def allowed(request: Request) -> list[str]:
    """Return the methods of every route at this address; the router's own Allow names only the first route's."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


def types() -> dict[str, ProblemType]:
    """Return every problem of ours by its code: the whole family, root first."""
    found: dict[str, ProblemType] = {}
    pending: list[type[GreenlightError]] = [GreenlightError]
    for kind in pending:
        pending.extend(kind.__subclasses__())
        description = (kind.__doc__ or "").strip()
        entry = ProblemType(
            code=kind.code, title=_title(kind), status=kind.status, description=description, hint=kind.hint
        )
        found.setdefault(kind.code, entry)
    return found


def _title(kind: type[GreenlightError]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).capitalize()


async def _nobody_listens(_request: Request, _error: Exception) -> Response:
    """End the request of a client that left in the middle of its upload: that is no incident."""
    return Response(status_code=400)
