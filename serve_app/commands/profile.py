"""A profile without Serve: the application's configuration and the resources that each deployment asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve_app.config import AppConfig, pipelines_of
from serve_app.core.errors import Misconfigured, Unknown
from serve_app.graph.spec import describe, read_yaml

PROFILES = Path(__file__).parent.parent / "profiles"


@dataclass(frozen=True)
class LocalApplication:
    """A profile's `args`, and `ray_actor_options` by deployment."""

    config: AppConfig
    options: Mapping[str, Mapping[str, Any]]


def application_in(path: Path) -> LocalApplication:
    """Return the one application in a profile; raise Misconfigured when it is not one, or its `args` are wrong."""
    document = read_yaml(path)
    try:
        (application,) = document["applications"]
        config = AppConfig.model_validate(application["args"])
    except (TypeError, KeyError, ValueError) as error:
        reason = describe(error) if isinstance(error, ValidationError) else "is not a profile with one application"
        raise Misconfigured(str(path), reason) from error
    listed = application.get("deployments") or []
    return LocalApplication(config, {each["name"]: each.get("ray_actor_options") or {} for each in listed})


def profile_for(pipeline: str) -> Path:
    """Return the first shipped profile that serves ``pipeline``; raise Unknown."""
    known: list[str] = []
    for path in sorted(PROFILES.glob("*.yaml")):
        names = list(pipelines_of(application_in(path).config))
        if pipeline in names:
            return path
        known += names
    raise Unknown("pipeline", pipeline, known)
