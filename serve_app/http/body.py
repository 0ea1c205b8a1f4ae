"""Reads a submission from a request body, JSON or multipart/form-data, within the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serve_app.core.errors import BadRequest, InvalidInput, TooLarge, Unknown
from serve_app.http import form, inputs, strict_json
from serve_app.http.service import Limits, Service, Submission
from serve_app.http.wire import SubmissionBody

JSON = "application/json"
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Body:
    """A whole body and what its Content-Type says about it."""

    raw: bytes
    media_type: str
    parameters: Mapping[bytes, bytes]


async def read_submission(request: Request, service: Service) -> Submission:
    """Return what the request asks for; raise BadRequest's family, or HTTPException 415."""
    media_type, parameters = _content_type(request)
    body = Body(await read_body(request, service.limits.body_bytes), media_type, parameters)
    declared = {str(entry["name"]): entry["inputs"] for entry in service.pipelines()}
    # Decoding tens of MiB of base64 takes long enough to hold up every other request on this event loop.
    return await to_thread.run_sync(partial(decode, body, declared, service.limits))


async def read_json(request: Request, service: Service) -> bytes:
    """Return the bytes of a JSON body; raise BadRequest's family, or HTTPException 415."""
    media_type, _ = _content_type(request)
    if media_type != JSON:
        raise HTTPException(415, f"send {JSON}", {"Accept": JSON})
    return await read_body(request, service.limits.body_bytes)


async def read_form(request: Request, service: Service) -> dict[str, form.Part]:
    """Return the parts of a form by their names; raise BadRequest's family, or HTTPException 415."""
    media_type, parameters = _content_type(request)
    if media_type != FORM:
        raise HTTPException(415, f"send {FORM}", {"Accept": FORM})
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise BadRequest("body", "the Content-Type names no boundary")
    raw = await read_body(request, service.limits.body_bytes)
    parts: dict[str, form.Part] = {}
    for part in form.parse(raw, boundary, service.limits.parts):
        if part.name in parts:
            raise InvalidInput(part.name, "the field was sent twice")
        parts[part.name] = part
    return parts


def decode(body: Body, declared: Mapping[str, Mapping[str, Any]], limits: Limits) -> Submission:
    """Return the submission in ``body``; ``declared`` has every pipeline's inputs. Raises BadRequest's family."""
    asked = _from_json(body.raw, limits) if body.media_type == JSON else _from_form(body, limits)
    if asked.pipeline not in declared:
        raise Unknown("pipeline", asked.pipeline, sorted(declared))
    values = inputs.convert(declared[asked.pipeline], asked.inputs, limits)
    return Submission(asked.pipeline, values, asked.policy)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Return the body; raise TooLarge once it is beyond ``limit_bytes``, whatever its Content-Length claimed."""
    reason = f"the body is larger than {limit_bytes} bytes"
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise TooLarge("body", reason)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise TooLarge("body", reason)
    return bytes(body)


def _content_type(request: Request) -> tuple[str, Mapping[bytes, bytes]]:
    accept = {"Accept": f"{JSON}, {FORM}"}
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise HTTPException(415, f"a body encoded with {encoding} is not taken", {"Accept-Encoding": "identity"})
    declared = request.headers.get("content-type")
    kind, parameters = parse_options_header(declared)
    if kind not in (JSON.encode(), FORM.encode()):
        raise HTTPException(415, f"send {JSON} or {FORM}, not {declared or 'a body without Content-Type'}", accept)
    if parameters.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        raise HTTPException(415, "send text as UTF-8", accept)
    return kind.decode("ascii"), parameters


def _from_json(raw: bytes, limits: Limits) -> SubmissionBody:
    return _checked(strict_json.parse(raw, limits))


def _from_form(body: Body, limits: Limits) -> SubmissionBody:
    """Put together ``request`` (JSON) or ``pipeline`` and ``policy`` (JSON), and one part per input."""
    boundary = body.parameters.get(b"boundary")
    if not boundary:
        raise BadRequest("body", "the Content-Type names no boundary")
    fields: dict[str, form.Part] = {}
    for part in form.parse(body.raw, boundary, limits.parts):
        name = part.name.removeprefix("inputs.") if part.name not in _RESERVED else f"={part.name}"
        if name in fields:
            raise InvalidInput(part.name, "the field was sent twice")
        fields[name] = part
    asked = _asked(fields, limits)
    twice = next((name for name in fields if name in asked.inputs), None)
    if twice is not None:
        raise InvalidInput(f"inputs.{twice}", "the input is both in the part `request` and in a part of its own")
    return asked.model_copy(update={"inputs": {**asked.inputs, **fields}})


_RESERVED = ("request", "pipeline", "policy")


def _asked(fields: dict[str, form.Part], limits: Limits) -> SubmissionBody:
    """Take the reserved parts out of ``fields`` and return what they say together."""
    reserved = {name: fields.pop(f"={name}") for name in _RESERVED if f"={name}" in fields}
    envelope = reserved.pop("request", None)
    said: Any = {} if envelope is None else strict_json.parse(envelope.data, limits, "request")
    for name, part in reserved.items():
        if isinstance(said, dict) and name in said:
            raise InvalidInput(name, "it is both in the part `request` and in a field of its own")
        if part.is_file:
            raise InvalidInput(name, "a file was sent where text is wanted")
        value = part.text() if name == "pipeline" else strict_json.parse(part.data, limits, name)
        said = {**said, name: value} if isinstance(said, dict) else said
    return _checked(said)


def _checked(value: Any) -> SubmissionBody:
    try:
        return SubmissionBody.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error
