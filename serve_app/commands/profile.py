"""A profile without Serve: the application's configuration and the resources that each deployment asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from serve_app.config import AppConfig, pipelines_of
from serve_app.core.errors import Misconfigured, Unknown
from serve_app.graph.spec import describe, read_yaml

PROFILES = Path(__file__).parent.parent / "profiles"


class _Options(BaseModel):
    """Those of Ray's actor options that are heeded without Ray; the others are Serve's to check."""

    num_cpus: float = Field(1, ge=0, allow_inf_nan=False)
    num_gpus: float = Field(0, ge=0, allow_inf_nan=False)


class _Entry(BaseModel):
    """One of a profile's `deployments`."""

    name: str
    ray_actor_options: _Options = _Options()


class _Entries(BaseModel):
    """A profile's `deployments`, which may be left out."""

    deployments: list[_Entry] = []


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
        listed = _Entries.model_validate(application)
    except (TypeError, KeyError, ValueError) as error:
        reason = describe(error) if isinstance(error, ValidationError) else "is not a profile with one application"
        raise Misconfigured(str(path), reason) from error
    return LocalApplication(config, {each.name: each.ray_actor_options.model_dump() for each in listed.deployments})


def profile_for(pipeline: str) -> Path:
    """Return the first shipped profile that serves ``pipeline``; raise Unknown."""
    known: list[str] = []
    for path in sorted(PROFILES.glob("*.yaml")):
        names = list(pipelines_of(application_in(path).config))
        if pipeline in names:
            return path
        known += names
    raise Unknown("pipeline", pipeline, known)
