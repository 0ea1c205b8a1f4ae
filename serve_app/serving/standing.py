"""How this application's deployments stand, asked of Serve's controller, and one replica's facts, asked of itself."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException

from serve_app.serving.models import Standing


def live_standing() -> Standing:
    """Return Serve's details of the calling replica's application. Blocks for some ms."""
    details = _get_global_client().get_serve_details()
    own = details["applications"][serve.get_replica_context().app_name]
    return Standing(own["deployments"], float(own["last_deployed_time_s"] or 0.0))


async def facts_of(name: str) -> dict[str, Any]:
    """Return what a running replica of ``name`` says of itself; raise TimeoutError where it is gone or full.

    Ask only where one runs: the question would start one otherwise.
    """
    handle = serve.get_deployment_handle(name, serve.get_replica_context().app_name)
    try:
        facts: dict[str, Any] = await handle.facts.remote()
    except (RayError, RayServeException) as error:
        raise TimeoutError(name) from error
    return facts
