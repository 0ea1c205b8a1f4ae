"""From a step to a Serve handle: the caller that a runner uses. Bulky values stay references from end to end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from serve_app.core.errors import GreenlightError, InputLost, StageFailed, Unavailable
from serve_app.graph.callers import Call
from serve_app.graph.record import Called, StepRecord


class ServeCaller:
    """Calls each step on its deployment's handle."""

    def __init__(self, handles: Mapping[str, DeploymentHandle]) -> None:
        # By reference, whatever mode Serve runs in: over gRPC a clip of more than 4 MiB does not pass.
        self._handles = {
            name: handle.options(stream=True, method_name="call", _by_reference=True)
            for name, handle in handles.items()
        }

    async def call(self, call: Call) -> Called:
        """See `Caller.call`."""
        name = call.step.deployment.name
        ports = tuple(call.values)
        # Only what was given: a stage may tell a default from a value that somebody chose.
        params = call.params.model_dump(mode="json", exclude_unset=True)
        try:
            response = self._handles[name].remote(call.step.node, params, ports, *call.values.values())
            return await self._receive(call, response)
        except RayTaskError as error:
            raise _unwrapped(error, name) from error
        except (RayError, RayServeException) as error:  # the replica died, never came, or is full
            raise Unavailable(name, _in_short(error)) from error

    async def _receive(self, call: Call, response: DeploymentResponseGenerator) -> Called:
        try:
            stream = await response._to_object_ref_gen()
            async for reference in stream:
                header: dict[str, Any] = await reference
                if header["kind"] == "progress":
                    call.on_progress(header["done"], header["of"])
                    continue
                value: Any = await anext(stream, None)
                if value is None:
                    break
                if not call.is_bulky:
                    value = await value
                return Called(value, StepRecord.from_json(header["record"]))
        except asyncio.CancelledError:
            response.cancel()
            raise
        raise Unavailable(call.step.deployment.name, "the replica's stream ended before its value")


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
