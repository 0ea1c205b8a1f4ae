"""A facade of flat endpoints: `POST /flux {"prompt": ..., "steps": 28, "cfg": 3.5}` is a run of a pipeline.

The words and defaults are in `endpoint_table`. An unknown word is a 422, what was in effect is in the answer, and an
address without a pipeline behind it is a 404 that names the pipeline. What is submitted is an ordinary run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serve_app.core.errors import InvalidInput, Unknown
from serve_app.http import inputs, strict_json
from serve_app.http.body import read_json
from serve_app.http.desk import Base, Desk
from serve_app.http.endpoint_table import Endpoint
from serve_app.http.idempotency import run_id_of
from serve_app.http.runs import carry_out
from serve_app.http.service import Address, Service, Submission
from serve_app.http.wire import RunView, from_run

Declared = Mapping[str, Mapping[str, Any]]

_LONGEST_SHOWN = 40


class EndpointView(RunView):
    """A run, and what is in effect for it in the endpoint's own words."""

    endpoint: str = Field(description="The address that was asked.")
    effective: dict[str, Any] = Field(
        description="Every word of the endpoint and its value after defaults; null: the model's own."
    )


@dataclass(frozen=True)
class Served:
    """An endpoint whose pipeline is deployed."""

    pipeline: str
    declared: Declared


def handler_of(endpoint: Endpoint) -> Callable[..., Any]:
    """Return the handler of ``endpoint``."""

    async def handler(request: Request, response: Response, service: Desk, base: Base) -> EndpointView:
        served = served_by(endpoint, service)
        raw = await read_json(request, service)
        try:
            submission = await to_thread.run_sync(partial(_submission, endpoint, served, raw, service))
            run = await carry_out(request, response, service, run_id_of(request), submission)
        except InvalidInput as error:
            raise InvalidInput(_spelt(endpoint, error.field), error.reason) from error
        view = from_run(run, base)
        response.headers["Location"] = view.links.self
        effective = {word.name: view.inputs.get(word.input) for word in endpoint.words}
        return EndpointView(**dict(view), endpoint=endpoint.path, effective=effective)

    handler.__name__ = endpoint.path.strip("/").replace("-", "_").replace(".", "_")
    handler.__doc__ = f"Submit a run of {endpoint.pipelines[-1]} in the words of `{endpoint.path}`; 404 without it."
    return handler


def refusal_of(path: str, reason: str) -> Callable[..., Any]:
    """Return a handler that says why ``path`` is not served."""

    async def handler() -> None:
        raise HTTPException(404, f"{path} is not served: {reason}")

    return handler


def served_by(endpoint: Endpoint, service: Service) -> Served:
    """Return what answers for ``endpoint``; raise HTTPException 404 naming the pipeline where nothing does."""
    entries = {str(entry["name"]): entry for entry in service.pipelines()}
    for name in endpoint.pipelines:
        if name in entries and _fits(endpoint, entries[name]):
            return Served(name, entries[name]["inputs"])
    weights = endpoint.stage if endpoint.variant is None else f"{endpoint.stage}, variant {endpoint.variant}"
    wanted = f"the pipeline {' or '.join(endpoint.pipelines)} with {weights}"
    raise HTTPException(404, f"{endpoint.path} needs {wanted}, and this server does not have it")


def _fits(endpoint: Endpoint, pipeline: Mapping[str, Any]) -> bool:
    steps = [step for step in pipeline["steps"] if step.get("stage") == endpoint.stage]
    return any(endpoint.variant in (None, step.get("variant")) for step in steps)


def _submission(endpoint: Endpoint, served: Served, raw: bytes, service: Service) -> Submission:
    body = strict_json.parse(raw, service.limits)
    if not isinstance(body, dict):
        raise InvalidInput("body", "is not an object")
    said = inputs_of(endpoint, body)
    known = {name: value for name, value in said.items() if name in served.declared}
    for name in said.keys() - known.keys():
        raise InvalidInput(f"inputs.{name}", f"the pipeline {served.pipeline} does not take it")
    values = inputs.convert(served.declared, known, service.limits)
    return Submission(served.pipeline, values, {}, Address(endpoint.path, endpoint.seed))


def inputs_of(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pipeline's inputs for ``body``, defaults included; raise InvalidInput naming the caller's own word."""
    given: dict[str, Any] = {}
    for spelling, value in body.items():
        word = endpoint.spellings.get(spelling)
        if word is None:
            reason = Unknown("field", spelling[:_LONGEST_SHOWN], list(endpoint.spellings)).reason
            names = ", ".join(word.name for word in endpoint.words)
            raise InvalidInput(spelling[:_LONGEST_SHOWN], f"{reason.rstrip('?')}; the fields are {names}")
        if word.input in given:
            raise InvalidInput(spelling, f"{word.name} is there already, in another spelling")
        given[word.input] = value
    for word in endpoint.words:
        if word.is_required and word.input not in given:
            raise InvalidInput(word.name, "is required")
    there = {word.name for word in endpoint.words if word.input in given}
    is_guided = _is_above(given.get(endpoint.spellings["cfg"].input), 1)
    defaults = {
        word.input: word.default
        for word in endpoint.words
        if word.default is not None and word.unless not in there and (is_guided or not word.is_for_guidance)
    }
    return {**dict(endpoint.fixed), **defaults, **given}


def _is_above(value: object, floor: float) -> bool:
    return isinstance(value, int | float) and value > floor


def _spelt(endpoint: Endpoint, field: str) -> str:
    """Return the caller's word for an input of the pipeline."""
    name = field.removeprefix("inputs.")
    words = {word.input: word.name for word in endpoint.words}
    return words.get(name, name) if field.startswith("inputs.") else field


def schema_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return the JSON schema of the body, with every spelling and default."""
    properties: dict[str, Any] = {}
    for spelling, word in endpoint.spellings.items():
        said = {} if word.default is None else {"default": word.default}
        other = {} if spelling == word.name else {"description": f"Another spelling of `{word.name}`."}
        properties[spelling] = {**_type_of(word.input), **other, **(said if not other else {})}
    required = [word.name for word in endpoint.words if word.is_required and not word.aliases]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("steps", "width", "height", "frames", "seed"), "integer"),
    **dict.fromkeys(("guidance", "true_cfg_scale", "fps"), "number"),
}


def _type_of(name: str) -> dict[str, str]:
    return {"type": _TYPES.get(name, "string")}
