"""From a step to a Serve handle: the caller that a runner uses. Bulky values stay references from end to end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from serve_app.core.errors import GreenlightError, InputLost, StageFailed, Unavailable
from serve_app.graph.callers import Call, warned
from serve_app.graph.errand import Ticket, spread
from serve_app.graph.record import Called, Charge, Resources, StepRecord
from serve_app.serving.affinity import toward


class ServeCaller:
    """Calls each step on its deployment's handle."""

    def __init__(self, handles: Mapping[str, DeploymentHandle]) -> None:
        # By reference, whatever mode Serve runs in: over gRPC a clip of more than 4 MiB does not pass.
        self._handles = {
            name: handle.options(stream=True, method_name="call", _by_reference=True)
            for name, handle in handles.items()
        }
        self._preparers = {name: handle.options(method_name="prepare") for name, handle in handles.items()}

    async def call(self, call: Call) -> Called:
        """See `Caller.call`."""
        name = call.step.deployment.name
        ticket, values = ticket_of(call)
        try:
            response = toward(self._handles[name], call).remote(ticket, *values)
            return await self._receive(call, response)
        except RayTaskError as error:
            raise _unwrapped(error, name) from error
        except (RayError, RayServeException) as error:  # the replica died, never came, or is full
            raise Unavailable(name, _in_short(error)) from error

    async def prepare(self, call: Call) -> None:
        """See `Caller.prepare`. Only what came with the request is sent: it is small, and no reference."""
        name = call.step.deployment.name
        ticket, values = ticket_of(call)
        try:
            await self._preparers[name].remote(ticket, *values)
        except RayTaskError as error:
            raise _unwrapped(error, name) from error
        except (RayError, RayServeException) as error:
            raise Unavailable(name, _in_short(error)) from error

    async def _receive(self, call: Call, response: DeploymentResponseGenerator) -> Called:
        try:
            stream = await response._to_object_ref_gen()
            async for reference in stream:
                header: dict[str, Any] = await reference
                if header["kind"] == "started":
                    call.on_start(Resources(**header["held"]))
                    continue
                if header["kind"] == "charged":
                    call.on_charge(Charge(**header["charge"]))
                    continue
                if header["kind"] == "progress":
                    call.on_progress(header["done"], header["of"])
                    continue
                if header["kind"] == "record" and not header["has_value"]:
                    return warned(Called(_handed_on(call), StepRecord.from_json(header["record"])), call)
                value: Any = await anext(stream, None)
                if value is None:
                    break
                if header["kind"] == "chunk":
                    call.on_chunk(header["index"], header["frames"], value)
                    continue
                if not call.is_bulky:
                    value = await value
                return warned(Called(value, StepRecord.from_json(header["record"])), call)
        except asyncio.CancelledError:
            response.cancel()
            raise
        raise Unavailable(call.step.deployment.name, "the replica's stream ended before its value")


def ticket_of(call: Call) -> tuple[Ticket, list[Any]]:
    """Return a call as it is sent, and its values in a row."""
    layout, values = spread(call.values)
    # Only what was given: a stage may tell a default from a value that somebody chose.
    params = call.params.model_dump(mode="json", exclude_unset=True)
    return Ticket(call.step.deployment.name, call.step.node, params, call.errand, layout), values


def _handed_on(call: Call) -> Any:
    """Return what a gate let pass, by the reference that it was given; None for a stream, whose chunks have come."""
    gated = call.step.deployment.contract.gates
    return None if gated is None else call.values[gated]


def _unwrapped(error: RayTaskError, name: str) -> GreenlightError:
    """Return what the replica raised. Ray wraps it; the original rides along as ``cause``.

    No stage speaks to Ray. When a replica raises an error of Ray's, it is one that Ray met in the replica's stead: it
    could not get an argument, because its node died or its maker failed while it was handed over.
    """
    cause = error.cause
    if isinstance(cause, GreenlightError):
        return cause
    if isinstance(cause, RayError) and type(cause) is not RayError:  # the bare one stands for what cannot be pickled
        return InputLost(name, _in_short(cause))
    return StageFailed(name, type(cause).__name__, _first_line(cause))


def _in_short(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
