"""Writing down what made a picture or a clip, at the one place that sees a stage, its params and its ports together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serve_app.core.adapter import Adapters
from serve_app.core.artifact import Artifact
from serve_app.core.media import Clip, Image
from serve_app.core.stage import Contract, Strict
from serve_app.graph.errand import Pieces


def with_origin(value: Any, contract: Contract, params: Strict, ports: Mapping[str, Any]) -> Any:
    """Return ``value`` with its origin, if it is a picture or a clip that a stage made of ``ports``.

    A stage that hands an origin on has worked on what another made: it is added to ``then``. One that returns a value
    without has made it. A gate has made nothing, whatever it put into the clip. ``ports`` are as they came: an upload
    is its artifact still, and known by its digest. Nothing here depends on time or on where the stage ran.
    """
    if not isinstance(value, Clip | Image):
        return value
    if contract.gates is not None:
        origin = getattr(ports[contract.gates], "origin", None)
        return replace(value, origin=origin) if origin and not value.origin else value
    work = {"stage": contract.name, "params": params.model_dump(mode="json")}
    if value.origin:
        return replace(value, origin={**value.origin, "then": [*value.origin.get("then", ()), work]})
    came = {port: said for port, given in ports.items() if (said := _said(given)) is not None}
    return replace(value, origin={**came, **work, "model": value.model})


def _said(given: Any) -> Any:
    """Return what is worth knowing of a port's value, or None."""
    match given:
        case Pieces():
            return _said(given.items[0])
        case str() | bool() | int() | float():
            return given
        case Artifact():
            return {"sha256": given.digest}
        case Clip() | Image():
            return dict(given.origin) or None
        case Adapters():
            return [{"name": one.name, "strength": one.strength, "sha256": one.digest} for one in given.items] or None
        case _:
            return None
