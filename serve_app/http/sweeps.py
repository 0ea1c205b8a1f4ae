"""Sweeps over HTTP: submit, look up, list, cancel. A sweep's cells are ordinary runs, at /v1/runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serve_app.core.errors import InvalidInput, Unknown
from serve_app.http import inputs, strict_json
from serve_app.http.body import JSON, read_body
from serve_app.http.desk import Base, Desk, SweepId
from serve_app.http.idempotency import sweep_id_of
from serve_app.http.service import Limits, Service, SweepDetail
from serve_app.http.wire_sweeps import SweepList, SweepView, from_sweep, from_sweeps
from serve_app.runs.sweep import SweepSpec

Declared = Mapping[str, Mapping[str, Any]]
"""An input's name: what its pipeline says of it."""


class SweepListParameters(BaseModel):
    """The query of GET /v1/sweeps; an unknown parameter is an error."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=500, description="`next_cursor` of the page before.")


async def create(request: Request, response: Response, service: Desk, base: Base) -> SweepView:
    """Submit a sweep under an id of ours. With an `Idempotency-Key`, sending it again is the same sweep."""
    return await _submit(request, response, service, base, sweep_id_of(request))


async def put(request: Request, response: Response, service: Desk, base: Base, sweep_id: SweepId) -> SweepView:
    """Submit a sweep under your id. The same again is the same sweep (200); another one under that id is a 409."""
    return await _submit(request, response, service, base, sweep_id)


async def _submit(request: Request, response: Response, service: Service, base: str, sweep_id: str | None) -> SweepView:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise HTTPException(415, f"send {JSON}", {"Accept": JSON})
    raw = await read_body(request, service.limits.body_bytes)
    declared = {str(entry["name"]): entry["inputs"] for entry in service.pipelines()}
    # Decoding tens of MiB of base64 takes long enough to hold up every other request on this event loop.
    spec = await to_thread.run_sync(partial(decode, raw, declared, service.limits))
    detail, is_new = await service.sweeps.submit(sweep_id, spec)
    response.status_code = 202 if is_new else 200
    view = await _told(detail, base)
    response.headers["Location"] = view.links.self
    return view


async def show(service: Desk, base: Base, sweep_id: SweepId) -> SweepView:
    """Return a sweep as it stands: its cells, and what they show so far."""
    return await _told(await service.sweeps.get(sweep_id), base)


async def index(service: Desk, base: Base, asked: Annotated[SweepListParameters, Query()]) -> SweepList:
    """Return sweeps, newest first, without their cells."""
    return from_sweeps(await service.sweeps.list(asked.limit, asked.cursor), base)


async def cancel(response: Response, service: Desk, base: Base, sweep_id: SweepId) -> SweepView:
    """Cancel a sweep and its runs: 202 while they stop, 200 once it is cancelled, 409 when it ended otherwise."""
    detail = await service.sweeps.cancel(sweep_id)
    response.status_code = 200 if detail.sweep.state.is_final else 202
    return await _told(detail, base)


async def _told(detail: SweepDetail, base: str) -> SweepView:
    """Return the view of a sweep; the tables of two thousand cells would hold up the event loop."""
    return await to_thread.run_sync(from_sweep, detail, base)


_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def decode(raw: bytes, declared: Mapping[str, Declared], limits: Limits) -> SweepSpec:
    """Return the sweep in ``raw`` with every input in its declared type; raise BadRequest's family."""
    try:
        # From text and not from values: strict, and a list is still the tuple that it can only be in JSON.
        spec = SweepSpec.model_validate_json(_ANYTHING.dump_json(strict_json.parse(raw, limits)))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error
    for pipeline in spec.pipelines:
        if pipeline not in declared:
            raise Unknown("pipelines", pipeline, sorted(declared))
    taken = [_converted(spec, declared[pipeline], limits) for pipeline in spec.pipelines]  # each may object
    return taken[0]


def _converted(spec: SweepSpec, declared: Declared, limits: Limits) -> SweepSpec:
    """Return ``spec`` with values as one pipeline declares them."""

    def take(field: str, name: str, value: Any) -> Any:
        if value is None:
            return None  # the input is left out
        try:
            return inputs.convert(declared, {name: value}, limits)[name]
        except InvalidInput as error:
            raise InvalidInput(field, error.reason) from error

    return spec.model_copy(
        update={
            "inputs": {name: take(f"inputs.{name}", name, value) for name, value in spec.inputs.items()},
            "over": {
                name: tuple(take(f"over.{name}.{index}", name, value) for index, value in enumerate(values))
                for name, values in spec.over.items()
            },
            "variants": {
                variant: {name: take(f"variants.{variant}.{name}", name, value) for name, value in given.items()}
                for variant, given in spec.variants.items()
            },
        }
    )
