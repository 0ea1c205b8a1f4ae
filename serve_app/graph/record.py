"""What is kept of a finished step besides its value: time, resources, parameters in effect, notes, warnings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from serve_app.core.adapter import Adapters
from serve_app.core.artifact import Artifact
from serve_app.core.media import Clip, Image
from serve_app.core.score import Score


@dataclass(frozen=True)
class Resources:
    """What a step held while it ran: CPU cores, the fraction of an accelerator, and which kind (None on CPU)."""

    cpus: float = 1.0
    gpus: float = 0.0
    accelerator: str | None = None


@dataclass(frozen=True)
class StepRecord:
    """One call of one stage. ``seconds`` is time at work, ``waited_s`` time in line for the replica before it."""

    node: str
    stage: str
    deployment: str
    started_s: float
    seconds: float
    waited_s: float
    resources: Resources
    params: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    value: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {**vars(self), "resources": vars(self.resources), "warnings": list(self.warnings)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> StepRecord:
        """Undo ``as_json``."""
        resources = Resources(**value["resources"])
        return cls(**{**value, "resources": resources, "warnings": tuple(value["warnings"])})


@dataclass(frozen=True)
class Called:
    """A step's value and its record. Behind Serve, a bulky value is a reference that nobody on the way opens."""

    value: Any
    record: StepRecord


def describe_value(value: object) -> dict[str, Any]:
    """Return what a reader wants to know of a value without seeing it."""
    match value:
        case Clip():
            shape = value.shape
            facts = {"frames": shape.frames, "width": shape.width, "height": shape.height, "fps": str(value.fps)}
            return {"type": "clip", **facts, "has_audio": value.audio is not None, "model": value.model}
        case Image():
            return {"type": "image", "width": value.width, "height": value.height, "model": value.model}
        case Adapters():
            return {"type": "adapters", "items": value.as_json()}
        case Artifact():
            return {"type": "artifact", **value.as_json()}
        case Score():
            return {"type": "score", **value.as_json()}
        case _:
            return {"type": type(value).__name__}
