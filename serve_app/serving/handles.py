"""From a step to a Serve handle: the caller that a runner uses. Bulky values stay references from end to end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from serve_app.core.errors import GreenlightError, StageFailed, Unavailable
from serve_app.graph.callers import Call
from serve_app.graph.record import Called, StepRecord

_GONE = (RayActorError, WorkerCrashedError, ObjectLostError, DeploymentUnavailableError, BackPressureError)
"""What Serve raises for a replica that died, never came, or is full: never retried by Serve itself."""


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
        except _GONE as error:
            raise Unavailable(name, f"{type(error).__name__}: {_first_line(error)}") from error
        except RayTaskError as error:
            raise _unwrapped(error, name) from error
        except RayError as error:
            raise Unavailable(name, f"{type(error).__name__}: {_first_line(error)}") from error

    async def _receive(self, call: Call, response: DeploymentResponseGenerator) -> Called:
        try:
            stream = await response._to_object_ref_gen()
            async for reference in stream:
                header: dict[str, Any] = await reference
                if header["kind"] == "progress":
                    call.on_progress(header["done"], header["of"])
                    continue
                value: Any = await anext(stream)
                if not call.is_bulky:
                    value = await value
                return Called(value, StepRecord.from_json(header["record"]))
        except asyncio.CancelledError:
            response.cancel()
            raise
        raise Unavailable(call.step.deployment.name, "the replica's stream ended before its value")


def _unwrapped(error: RayTaskError, name: str) -> GreenlightError:
    """Return what the replica raised. Ray wraps it; the original rides along as ``cause``."""
    cause = error.cause
    if isinstance(cause, GreenlightError):
        return cause
    if isinstance(cause, _GONE):
        return Unavailable(name, f"{type(cause).__name__}: {_first_line(cause)}")
    return StageFailed(name, type(cause).__name__, _first_line(cause))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def is_ready(handle: DeploymentHandle) -> bool:
    """Whether the deployment behind ``handle`` has a replica."""
    return bool(ray.is_initialized() and handle.running_replicas_populated())
