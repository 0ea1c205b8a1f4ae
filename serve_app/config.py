"""The configuration: what `args` of a profile may say, and what follows from it. Nothing is loaded to find out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

import deployments
from serve_app.core.errors import Misconfigured, Unknown
from serve_app.core.optimal_seeds import OPTIMAL_SEEDS, OptimalSeed, read_seeds
from serve_app.core.stage import Strict, contract_of
from serve_app.graph.plan import Deployment, Plan, compile_plan, deployment_of
from serve_app.graph.spec import PipelineSpec, find_pipeline
from serve_app.runs.ledger import Prices

INGRESS = "ingress"
RUNNER = "runner"
OWN_DEPLOYMENTS = (INGRESS, RUNNER)
"""Deployments that every application has, beside one for each stage in use."""

_MIB = 1 << 20


class StageConfig(Strict):
    """What one deployment of a stage is loaded with."""

    stage: str | None = Field(None, description="The stage's name, where the deployment is called something else.")
    weights: dict[str, Any] = Field({}, description="The stage's own `Weights`: checkpoints, precision, adapters.")


class LimitsConfig(Strict):
    """What a request may ask of the server; beyond it, the answer is 413, 422 or 429."""

    upload_bytes: int = Field(25 * _MIB, ge=1024, le=1024 * _MIB, description="One picture or video as sent.")
    body_bytes: int = Field(64 * _MIB, ge=1024, le=4096 * _MIB, description="One request body, base64 included.")
    picture_px: int = Field(
        40_000_000, ge=4096, le=1_000_000_000, description="Width times height of one picture, before it is decoded."
    )
    clip_bytes: int = Field(
        2048 * _MIB, ge=1024, le=1024 * 1024 * _MIB, description="All frames of one video, decoded, 3 bytes per px."
    )
    queued_runs: int = Field(100, ge=1, le=1_000_000, description="Runs that may wait; the next one is told 429.")

    @model_validator(mode="after")
    def _a_picture_fits_its_request(self) -> LimitsConfig:
        if self.upload_bytes > self.body_bytes:
            raise ValueError(f"upload_bytes {self.upload_bytes} cannot be reached: body_bytes is {self.body_bytes}")
        return self


class HttpConfig(Strict):
    """What the HTTP API tells browsers."""

    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may call the API, such as `https://studio.example`; `*` for any."
    )


class QueueConfig(Strict):
    """How runners take runs from the store, and how long they keep at it."""

    slots: int = Field(1, ge=1, le=64, description="Runs at a time in one runner.")
    lease_s: float = Field(15, ge=1, le=600, description="Silence of a runner after which another takes its run over.")
    poll_s: float = Field(0.1, ge=0.01, le=60, description="Pause between two looks into an empty queue.")
    max_claims: int = Field(3, ge=1, le=100, description="Runners that a run may outlive before it is given up.")
    step_retries: int = Field(3, ge=0, le=20, description="Times that a step is called again after its replica died.")


class StreamingConfig(Strict):
    """How clips move from stage to stage. Off, every stage waits for the whole clip before it."""

    chunk_frames: int | None = Field(
        16, ge=2, le=1024, description="Frames of a chunk; null: clips move whole. Also a video's frames per key frame."
    )
    credits: int = Field(3, ge=2, le=64, description="Chunks that a stage may be ahead of the slowest that reads them.")


class AppConfig(Strict):
    """The `args` of Greenlight's application in a Serve config file."""

    pipelines: tuple[str, ...] = Field(
        min_length=1, description="Names of shipped pipelines, or paths of YAML files that end in .yaml or .yml."
    )
    stages: dict[str, StageConfig] = Field(
        {}, description="Deployment name: what it is loaded with. A stage in use that is not listed gets its defaults."
    )
    directory: Path = Field(
        Path(".greenlight"), description="Where runs.db, artifacts/ and scratch/ live; shared by all nodes."
    )
    store_url: str | None = Field(
        None, description="SQLAlchemy URL of the run store; without one, SQLite in `directory`, for one machine."
    )
    artifacts_directory: Path | None = Field(None, description="Where artifacts live, if not in `directory`.")
    limits: LimitsConfig = Field(LimitsConfig(), description="What a request may ask of the server.")
    queue: QueueConfig = Field(QueueConfig(), description="How runners take runs.")
    streaming: StreamingConfig = Field(StreamingConfig(), description="How clips move from stage to stage.")
    colocate: tuple[tuple[str, ...], ...] = Field(
        (),
        description="Groups of deployments hosted in one process, on one share of a GPU; the first names the group.",
    )
    prices: Prices = Field(Prices(), description="What a second of each deployment costs.")
    http: HttpConfig = Field(HttpConfig(), description="Who may ask.")
    log_format: Literal["text", "json"] = Field(
        "text", description="How our log lines look on stderr; `json` is one object per line, with the run's id."
    )
    optimal_seeds: Literal["shipped"] | Path | dict[str, OptimalSeed] = Field(
        {},
        description="Pipeline, address (`/flux`) or `_default`: the first seed of a run that names none, and its "
        "provenance. Or a JSON file of those, as `greenlight sweep --save-optimal` writes it, or `shipped`: the table "
        "that comes with Greenlight. Without an entry, a seed is drawn.",
    )

    @field_validator("stages")
    @classmethod
    def _own_names_are_taken(cls, stages: dict[str, StageConfig]) -> dict[str, StageConfig]:
        for name in stages:
            if name in OWN_DEPLOYMENTS or not name or "#" in name:  # Ray builds actor names with '#'
                raise ValueError(f"a stage's deployment cannot be called {name!r}")
        return stages

    @field_validator("colocate")
    @classmethod
    def _a_stage_lives_in_one_place(cls, groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        members = [name for group in groups for name in group]
        for name in members:
            if members.count(name) > 1:
                raise ValueError(f"{name} is named twice")
        if any(len(group) < 2 for group in groups):
            raise ValueError("a group has two members at least")
        return groups

    def host_of(self, name: str) -> str:
        """Return the Serve deployment that hosts the deployment called ``name``: itself, or the head of its group."""
        return next((group[0] for group in self.colocate if name in group), name)

    def members_of(self, name: str) -> tuple[str, ...]:
        """Return what the Serve deployment called ``name`` hosts."""
        return next((group for group in self.colocate if group[0] == name), (name,))

    @property
    def run_store_url(self) -> str:
        """The SQLAlchemy URL in effect."""
        return self.store_url or f"sqlite:///{self.directory.absolute() / 'runs.db'}"

    @property
    def artifacts_path(self) -> Path:
        """The artifacts' directory in effect."""
        return self.artifacts_directory or self.directory / "artifacts"

    @property
    def scratch_path(self) -> Path:
        """Where stages keep temporary files: on the artifacts' disk, so that finished files are moved, not copied."""
        return (self.artifacts_directory or self.directory) / "scratch"


def seeds_of(config: AppConfig) -> Mapping[str, OptimalSeed]:
    """Return the optimal seeds by pipeline or address; raise Misconfigured for a file that holds none."""
    seeds = config.optimal_seeds
    if seeds == "shipped":
        return OPTIMAL_SEEDS
    return read_seeds(seeds) if isinstance(seeds, Path) else seeds


def pipelines_of(config: AppConfig) -> dict[str, PipelineSpec]:
    """Return every configured pipeline by its own name; raise Misconfigured when two have the same."""
    specs: dict[str, PipelineSpec] = {}
    for name_or_path in config.pipelines:
        try:
            spec = find_pipeline(name_or_path)
        except Unknown as error:
            raise Misconfigured("pipelines", error.reason) from error
        if spec.name in specs:
            raise Misconfigured("pipelines", f"two pipelines are called {spec.name}")
        specs[spec.name] = spec
    return specs


def deployments_of(config: AppConfig) -> dict[str, Deployment]:
    """Return a deployment for every stage that a pipeline uses, by name.

    Raises Misconfigured for an unknown stage, bad weights, and a configured stage that no pipeline uses, or
    a colocated one.
    """
    found: dict[str, Deployment] = {}
    for where, use in _uses(pipelines_of(config).values()):
        if use not in found:
            given = config.stages.get(use, StageConfig())
            stage_name = given.stage or use
            at = f"stages.{use}.stage" if given.stage else where
            found[use] = deployment_of(use, stage_name, _locate(stage_name, at, config.stages), given.weights)
    for name in config.stages:
        if name not in found:
            raise Misconfigured(f"stages.{name}", "no pipeline uses it")
    for name in (member for group in config.colocate for member in group):
        if name not in found:
            raise Misconfigured("colocate", Unknown("colocate", name, list(found)).reason)
    return found


def plans_of(config: AppConfig) -> dict[str, Plan]:
    """Return every configured pipeline, compiled, by its name; raise Misconfigured for the first that is wrong."""
    known = deployments_of(config)
    return {name: compile_plan(spec, known) for name, spec in pipelines_of(config).items()}


def plan_alone(spec: PipelineSpec) -> Plan:
    """Compile a pipeline outside of any configuration: its stages go by their own names and get no weights."""
    known = {}
    for where, use in _uses([spec]):
        stage = _locate(use, where, {})
        known[use] = Deployment(use, stage, contract_of(use, stage), Strict())
    return compile_plan(spec, known)


def _uses(specs: Iterable[PipelineSpec]) -> list[tuple[str, str]]:
    """Return (dotted path, deployment name) of every node."""
    return [(f"pipeline {spec.name} nodes.{node}.use", box.use) for spec in specs for node, box in spec.nodes.items()]


def _locate(stage_name: str, where: str, listed: Mapping[str, StageConfig]) -> type:
    try:
        return deployments.locate(stage_name)
    except Unknown as error:
        known = list(dict.fromkeys([*deployments.names(), *listed]))
        raise Misconfigured(where, Unknown(where, stage_name, known).reason) from error
