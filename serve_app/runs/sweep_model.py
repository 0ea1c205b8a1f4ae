"""A sweep's life as values: what was asked, its cells, and what became of each. Times are unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from serve_app.core.errors import InvalidInput
from serve_app.runs.model import Run, RunRequest, RunState, is_run_id, new_run_id

_LONGEST_ID = 40
"""Of a sweep: its runs' ids are longer by a dash and 16 digits, and a run's may have 64 characters."""


class SweepState(StrEnum):
    """Where a sweep stands."""

    RUNNING = "running"
    FINISHED = "finished"  # every cell has ended, however it did
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen to the sweep any more."""
        return self is not SweepState.RUNNING


@dataclass(frozen=True)
class CellResult:
    """How a cell's run ended. ``points``: its score, None if it left none; ``usd``: None if something has no price.

    ``seconds``: of work, in all attempts. ``model``: what the generator calls itself. ``error``: a code, None if good.
    """

    state: RunState
    points: float | None
    verdict: str | None
    is_accepted: bool
    seconds: float
    usd: float | None
    judge: str | None
    model: str | None
    error: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**vars(self), "state": self.state.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CellResult:
        """Undo ``as_json``."""
        return cls(**{**value, "state": RunState(value["state"])})


@dataclass(frozen=True)
class CellRequest:
    """A cell to be recorded: the run to make, its place on every axis (JSON values), and the node that scores it."""

    run: RunRequest
    axes: dict[str, Any]
    score_node: str


@dataclass(frozen=True)
class SweepRequest:
    """A sweep to be recorded: ``spec`` is a SweepSpec as JSON, a picture in it is an artifact's ``as_json()``."""

    id: str
    spec: dict[str, Any]
    cells: tuple[CellRequest, ...]


@dataclass(frozen=True)
class Sweep:
    """A recorded sweep of ``size`` cells."""

    id: str
    spec: dict[str, Any]
    size: int
    state: SweepState
    created_s: float
    finished_s: float | None
    is_cancel_requested: bool


@dataclass(frozen=True)
class Cell:
    """A recorded cell. ``state``: its run's, None before it was submitted; ``result``: once it was read and kept."""

    position: int
    run_id: str
    pipeline: str
    axes: dict[str, Any]
    score_node: str
    state: RunState | None
    result: CellResult | None


@dataclass(frozen=True)
class SweepPage:
    """Some sweeps, newest first; ``next_cursor`` asks for older ones and is None at the end."""

    sweeps: tuple[Sweep, ...]
    next_cursor: str | None


def new_sweep_id() -> str:
    """Return ``sweep_`` and what a run's id has: ids sort as text in order of their time."""
    return "sweep_" + new_run_id().removeprefix("run_")


def check_sweep_id(value: str) -> str:
    """Return ``value``; raise InvalidInput naming ``id`` unless it may name a sweep."""
    if not is_run_id(value) or len(value) > _LONGEST_ID:
        raise InvalidInput("id", f"a sweep id is 1 to {_LONGEST_ID} of the characters A-Z a-z 0-9 _ -")
    return value


def result_of(run: Run, score_node: str) -> CellResult:
    """Return what a run that has ended says of its cell: its delivered attempt's score, else its last attempt's."""
    report = run.report or {}
    attempts = [attempt for attempt in report.get("attempts", []) if attempt["is_finished"]]
    scores = report.get("scores") or (attempts[-1]["scores"] if attempts else {})
    score = scores.get(score_node) or {}
    return CellResult(
        state=run.state,
        points=score.get("points"),
        verdict=report.get("verdict", {}).get("word"),
        is_accepted=bool(report.get("is_accepted")),
        seconds=report.get("timings", {}).get("attempts_s", 0.0),
        usd=report.get("cost", {}).get("usd"),
        judge=score.get("judge"),
        model=_model(attempts),
        error=None if run.error is None else run.error.get("code"),
    )


def _model(attempts: list[dict[str, Any]]) -> str | None:
    """Return the model that the last attempt's first picture or clip names."""
    steps = attempts[-1]["steps"] if attempts else []
    return next((step["value"]["model"] for step in steps if step["value"].get("model")), None)
