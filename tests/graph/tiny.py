"""Stages small enough to read at a glance, and a pipeline of them that compiles."""

from __future__ import annotations

import copy
from typing import Any, Literal

from pydantic import Field

from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Image
from serve_app.core.score import Score
from serve_app.core.stage import Context, Strict
from serve_app.graph.plan import Deployment, Plan, compile_plan, deployment_of
from serve_app.graph.spec import parse_pipeline


class Nothing(Strict):
    """No fields."""


class Maker:
    class Weights(Strict):
        size: int = Field(1, ge=1)

    class Params(Strict):
        frames: int = Field(9, ge=1, le=100)
        steps: int = Field(8, ge=1)
        guidance: float = 1.0
        style: str | None = None

    @staticmethod
    def plan(params: Params) -> None:
        if (params.frames - 1) % 8:
            raise InvalidInput("frames", f"{params.frames} is not 8k+1")

    def load(self, weights: Weights, context: Context) -> None: ...

    def run(self, params: Params, *, prompt: str, seed: int, image: Image | None = None) -> Clip:
        raise NotImplementedError


class Photo(Maker):
    def run(self, params: Maker.Params, *, prompt: str, seed: int, image: Image) -> Clip:  # type: ignore[override]
        raise NotImplementedError


class Judge:
    Weights = Nothing
    Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None: ...

    def run(self, params: Nothing, *, clip: Clip) -> Score:
        raise NotImplementedError


class Gate:
    gates = "clip"
    Weights = Nothing

    class Params(Strict):
        on_fail: Literal["reject", "warn"] = "reject"

    def load(self, weights: Nothing, context: Context) -> None: ...

    def run(self, params: Params, *, clip: Clip, score: Score) -> Clip:
        raise NotImplementedError


class Encode:
    Weights = Nothing
    Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None: ...

    def run(self, params: Nothing, *, clip: Clip) -> Artifact:
        raise NotImplementedError


STAGES = {"make": Maker, "photo": Photo, "judge": Judge, "gate": Gate, "encode": Encode}

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "inputs": {
        "prompt": "text",
        "seed": "seed",
        "steps": {"type": "integer", "default": 8, "minimum": 1, "maximum": 50, "aliases": ["num_inference_steps"]},
    },
    "nodes": {
        "file": {"use": "encode", "take": {"clip": "gate"}},
        "gate": {"use": "gate", "take": {"clip": "draft", "score": "judge"}},
        "judge": {"use": "judge", "take": {"clip": "draft"}},
        "draft": {
            "use": "make",
            "with": {"frames": 17, "steps": "$steps"},
            "take": {"prompt": "$prompt", "seed": "$seed"},
        },
    },
    "outputs": {"video": "file", "score": "judge"},
}


def deployments() -> dict[str, Deployment]:
    """Return every tiny stage as a deployment under its own name."""
    return {name: deployment_of(name, name, stage, {}) for name, stage in STAGES.items()}


def document(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the pipeline with some dotted paths set to other values; None removes."""
    result = copy.deepcopy(DOCUMENT)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        part = result
        for parent in parents:
            part = part.setdefault(parent, {})
        if value is None:
            del part[last]
        else:
            part[last] = value
    return result


def plan(changes: dict[str, Any] | None = None) -> Plan:
    """Compile the pipeline after ``changes``."""
    return compile_plan(parse_pipeline(document(changes), "tiny.yaml"), deployments())
