"""What is kept of a finished step besides its value: time, resources, parameters in effect, notes, warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from serve_app.core.adapter import Adapters
from serve_app.core.artifact import Artifact
from serve_app.core.conditioning import Conditioning
from serve_app.core.media import Clip, Image
from serve_app.core.score import Score

DONE = "done"

NOTHING = {"type": "nothing"}
"""The ``value`` in the record of a step that gave up its own attempt."""


@dataclass(frozen=True)
class Resources:
    """What a step held while it ran: CPU cores, the fraction of an accelerator, and which kind (None on CPU)."""

    cpus: float = 1.0
    gpus: float = 0.0
    accelerator: str | None = None


@dataclass(frozen=True)
class Charge:
    """Money that a call spent beside its time, and on what; ``usd`` is None when nobody knows how much."""

    usd: float | None
    what: str


@dataclass(frozen=True)
class StepRecord:
    """One call of one stage. ``seconds`` is time at work, ``waited_s`` time in line for the replica before it.

    ``chunks``: how many chunks the step was worked off in; 0 for a step that took one call. Their seconds are summed.
    ``ended``: ``done``, or the code of the error that ended the call. Of such a call, only the time is known.
    """

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
    charges: tuple[Charge, ...] = ()
    ended: str = DONE
    chunks: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        plain = {"resources": vars(self.resources), "warnings": list(self.warnings)}
        return {**vars(self), **plain, "charges": [vars(charge) for charge in self.charges]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> StepRecord:
        """Undo ``as_json``."""
        resources = Resources(**value["resources"])
        charges = tuple(Charge(**charge) for charge in value.get("charges", ()))
        return cls(**{**value, "resources": resources, "warnings": tuple(value["warnings"]), "charges": charges})


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
        case Conditioning():
            encoder = value.encoder
            facts = {"model": encoder.model, "tokens": value.tokens, "bytes": value.size_bytes}
            return {"type": "conditioning", **facts, "has_negative": value.negative is not None}
        case Adapters():
            return {"type": "adapters", "items": value.as_json()}
        case Artifact():
            return {"type": "artifact", **value.as_json()}
        case Score():
            return {"type": "score", **value.as_json()}
        case _:
            return {"type": type(value).__name__}


def merged(records: Sequence[StepRecord]) -> StepRecord:
    """Return the calls that worked one step off, piece by piece, as one record; the last call gave the step's value.

    Seconds and charges are summed. ``waited_s`` is the first call's: the others waited for their own step's pieces.
    """
    first, last = min(records, key=lambda each: each.started_s), records[-1]
    notes = {name: note for each in records for name, note in each.notes.items()}
    warnings = dict.fromkeys(warning for each in records for warning in each.warnings)
    return replace(
        last,
        started_s=first.started_s,
        seconds=math.fsum(each.seconds for each in records),
        waited_s=first.waited_s,
        notes=notes,
        warnings=tuple(warnings),
        charges=tuple(charge for each in records for charge in each.charges),
    )
