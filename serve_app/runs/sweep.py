"""A sweep's specification and the grid it stands for. A sweep is many ordinary runs; nothing loops inside a graph."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from serve_app.core import digest
from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.stage import Strict

MOST_CELLS = 2000
"""However large a caller's own cap may be."""
PIPELINE, VARIANT = "pipeline", "variant"
"""The axes that are no inputs: which pipeline, and which named set of inputs."""
RETRIES = {"attempts": 1, "keep": "best"}
"""A cell's policy where the sweep names no other: the seed it names, and a score also where a gate says no."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_ID_DIGITS = 16


class SweepSpec(Strict):
    """A grid of runs: every pipeline x every variant x every value of every axis."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    pipelines: tuple[Word, ...] = Field(min_length=1, max_length=32)
    """The pipelines to run; several of them compare models."""
    over: dict[Word, tuple[Any, ...]] = {}
    """Input: its values, one axis each. `null` leaves the input out."""
    variants: dict[Word, dict[str, Any]] = {}
    """Named sets of inputs, one more axis: for what changes together, such as steps with their scheduler."""
    inputs: dict[str, Any] = {}
    """What is the same in every cell."""
    policy: dict[str, Any] = {}
    """Changes to `{"attempts": 1, "keep": "best"}`, the policy of every cell."""
    concurrency: int = Field(2, ge=1, le=64)
    """Cells that are queued or at work at any time."""
    score: str | None = None
    """The output whose score is compared; without it, the output called `score`, or else the only score there is."""
    ladder: str | None = None
    """The axis that goes from dear to cheap; `steps` without being told."""
    tolerance: float = Field(2.0, gt=0, le=100)
    """Points that a rung of the ladder may lose and still hold."""
    max_cells: int = Field(200, ge=1, le=MOST_CELLS)
    """A larger grid is refused."""

    @model_validator(mode="after")
    def _is_a_grid(self) -> SweepSpec:
        for name in (PIPELINE, VARIANT):
            if name in self.over:
                raise ValueError(f"over.{name}: say it as `{name}s`")
        for name, values in (("pipelines", self.pipelines), *((f"over.{n}", v) for n, v in self.over.items())):
            _check_values(name, values)
        for name in self.over:
            if name in self.inputs:
                raise ValueError(f"inputs.{name}: it is an axis already")
        for variant, inputs in self.variants.items():
            for name in inputs:
                if name in self.inputs or name in self.over:
                    raise ValueError(f"variants.{variant}.{name}: it is given elsewhere already")
        return self


def _check_values(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise ValueError(f"{name}: an axis has at least one value")
    if len(values) > MOST_CELLS:
        raise ValueError(f"{name}: {len(values)} values are more than the {MOST_CELLS} cells that a sweep may have")
    counts = Counter(key_of(value) for value in values)
    twice = next((key for key, count in counts.items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{name}: {twice[:100]} is listed twice")


@dataclass(frozen=True)
class Point:
    """One cell of the grid: its pipeline, where it lies on every axis, and the inputs that follow from both."""

    pipeline: str
    axes: Mapping[str, Any]
    inputs: Mapping[str, Any]

    def run_id(self, sweep_id: str) -> str:
        """Return the id of the cell's run: the same place in the same sweep is the same run, however often asked."""
        place = {"pipeline": self.pipeline, "axes": {name: plain(value) for name, value in self.axes.items()}}
        return f"{sweep_id}-{digest.of_json(place)[:_ID_DIGITS]}"


def axes_of(spec: SweepSpec) -> dict[str, tuple[Any, ...]]:
    """Return every axis with its values, in the order in which a grid is walked: the last one varies fastest.

    Models are the slowest, for they take turns on a device. Variants are the fastest: what makes a machine slow for a
    while then strikes both of a pair, and not all of one side.
    """
    axes: dict[str, tuple[Any, ...]] = {PIPELINE: spec.pipelines} if len(spec.pipelines) > 1 else {}
    axes |= spec.over
    return {**axes, VARIANT: tuple(spec.variants)} if spec.variants else axes


def expand(spec: SweepSpec) -> list[Point]:
    """Return the cells of the grid; raise InvalidInput naming ``max_cells`` when there are more, ``over`` for none."""
    axes = axes_of(spec)
    if not axes:
        raise InvalidInput("over", "a sweep varies something: give it an axis, variants, or several pipelines")
    count = math.prod(len(values) for values in axes.values())
    if count > spec.max_cells:
        raise InvalidInput("max_cells", f"the grid has {count} cells, and the cap is {spec.max_cells}")
    return list(_points(spec, axes))


def _points(spec: SweepSpec, axes: Mapping[str, tuple[Any, ...]]) -> Iterator[Point]:
    for values in itertools.product(*axes.values()):
        place = dict(zip(axes, values, strict=True))
        chosen = {name: value for name, value in place.items() if name in spec.over}
        inputs = {**spec.inputs, **spec.variants.get(place.get(VARIANT, ""), {}), **chosen}
        given = {name: value for name, value in inputs.items() if value is not None}
        yield Point(place.get(PIPELINE, spec.pipelines[0]), place, given)


def plain(value: Any) -> Any:
    """Return an axis's value as JSON: a picture by what identifies it."""
    if isinstance(value, Artifact):
        return {"picture": value.digest}
    return list(value) if isinstance(value, tuple) else value


def key_of(value: Any) -> str:
    """Return a value as a short text that tells it from others, and that a reader recognises."""
    value = plain(value)
    if isinstance(value, dict) and "picture" in value:
        return f"picture {value['picture'][:12]}"
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(map(str, value))
    return {None: "none", True: "true", False: "false"}.get(value, str(value)) if _is_word(value) else str(value)


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)
