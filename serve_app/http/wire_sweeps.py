"""How a sweep travels over HTTP. Times are ISO 8601 in UTC; a figure's interval is Student's at its `confidence`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve_app.http.service import SweepDetail
from serve_app.runs.ladder import Ladder
from serve_app.runs.statistics import Estimate
from serve_app.runs.sweep import SweepSpec
from serve_app.runs.sweep_model import Cell, Sweep, SweepPage, SweepState
from serve_app.runs.sweep_table import Table, ladder_of, tables_of


class EstimateView(BaseModel):
    """A mean of ``n`` values and its interval; the interval is null for fewer than two."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    confidence: float


class CellView(BaseModel):
    """One run of the grid. ``state`` is null before it was submitted; what follows ``url`` is null before its end."""

    run_id: str
    pipeline: str
    axes: dict[str, Any]
    state: str | None
    url: str
    points: float | None = Field(description="The score that is compared; null also where the run left none.")
    verdict: str | None
    is_accepted: bool | None
    seconds: float | None
    usd: float | None
    judge: str | None
    model: str | None
    error: str | None


class GroupView(BaseModel):
    """One value of an axis, over everything else."""

    name: str
    value: Any
    points: EstimateView | None
    seconds: EstimateView | None
    usd: EstimateView | None
    ended: int
    accepted: int


class TableView(BaseModel):
    """One axis. ``margins``: the best minus each other in pairs, at a confidence that bounds all of them together."""

    axis: str
    groups: list[GroupView]
    best: str | None
    winner: str | None = Field(description="Null unless the best one's lead over every other is above zero.")
    reason: str
    margins: dict[str, EstimateView]
    warnings: list[str]


class RungView(BaseModel):
    """One rung of the ladder."""

    name: str
    score: EstimateView | None
    loses: EstimateView | None
    word: str = Field(description="top, holds, falls or undecided.")


class LadderView(BaseModel):
    """From dear to cheap: how far down the score holds."""

    axis: str
    rungs: list[RungView]
    shape: str = Field(description="flat, knee, monotone, not monotone or undecided.")
    knee: str | None
    reason: str


class SweepLinks(BaseModel):
    """Where a sweep goes on."""

    self: str
    cancel: str


class SweepView(BaseModel):
    """A sweep. ``cells`` are empty in a listing."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["sweep"] = "sweep"
    state: SweepState
    is_cancel_requested: bool
    spec: dict[str, Any]
    size: int
    created_at: datetime
    finished_at: datetime | None
    counts: dict[str, int] = Field(default={}, description="Cells by state; `waiting` before they are submitted.")
    cells: list[CellView] = []
    tables: list[TableView] = []
    ladder: LadderView | None = None
    usd: float | None = Field(default=None, description="Of all cells so far; null when one has no price.")
    seconds: float | None = Field(default=None, description="Of work, in all cells so far.")
    links: SweepLinks


class SweepList(BaseModel):
    """Some sweeps, newest first, without their cells."""

    object: Literal["list"] = "list"
    sweeps: list[SweepView]
    next_cursor: str | None = Field(description="Ask for older sweeps with it; null at the end.")


def from_sweep(detail: SweepDetail, base: str = "") -> SweepView:
    """Return a sweep with its cells and tables; ``base`` goes before every path in it."""
    sweep, cells = detail.sweep, detail.cells
    spec = SweepSpec.model_validate(sweep.spec, strict=False)
    results = [cell.result for cell in cells if cell.result is not None]
    prices = [result.usd for result in results]
    counts = Counter("waiting" if cell.state is None else cell.state.value for cell in cells)
    told = {
        "counts": dict(counts),
        "cells": [_cell(cell, base) for cell in cells],
        "tables": [_table(table) for table in tables_of(spec, cells)],
        "ladder": _ladder(ladder_of(spec, cells)),
        "usd": None if None in prices else round(sum(price for price in prices if price is not None), 9),
        "seconds": round(sum(result.seconds for result in results), 3),
    }
    return _brief(sweep, base).model_copy(update=told)


def from_sweeps(page: SweepPage, base: str = "") -> SweepList:
    """Return ``page`` as it travels."""
    return SweepList(sweeps=[_brief(sweep, base) for sweep in page.sweeps], next_cursor=page.next_cursor)


def _brief(sweep: Sweep, base: str) -> SweepView:
    here = f"{base}/v1/sweeps/{sweep.id}"
    return SweepView(
        id=sweep.id,
        state=sweep.state,
        is_cancel_requested=sweep.is_cancel_requested,
        spec=sweep.spec,
        size=sweep.size,
        created_at=datetime.fromtimestamp(sweep.created_s, UTC),
        finished_at=None if sweep.finished_s is None else datetime.fromtimestamp(sweep.finished_s, UTC),
        links=SweepLinks(self=here, cancel=f"{here}/cancel"),
    )


def _cell(cell: Cell, base: str) -> CellView:
    names = ("points", "verdict", "is_accepted", "seconds", "usd", "judge", "model", "error")
    said: dict[str, Any] = {name: None if cell.result is None else getattr(cell.result, name) for name in names}
    state = None if cell.state is None else cell.state.value
    where = {"run_id": cell.run_id, "url": f"{base}/v1/runs/{cell.run_id}", "state": state}
    return CellView(**where, pipeline=cell.pipeline, axes=cell.axes, **said)


def _table(table: Table) -> TableView:
    groups = [
        GroupView(
            name=group.name,
            value=group.value,
            points=_estimate(group.points),
            seconds=_estimate(group.seconds),
            usd=_estimate(group.usd),
            ended=group.ended,
            accepted=group.accepted,
        )
        for group in table.groups
    ]
    ranking = table.ranking
    return TableView(
        axis=table.axis,
        groups=groups,
        best=ranking.best,
        winner=ranking.winner,
        reason=ranking.reason,
        margins=_estimates(ranking.margins),
        warnings=list(table.warnings),
    )


def _ladder(found: tuple[str, Ladder] | None) -> LadderView | None:
    if found is None:
        return None
    axis, ladder = found
    rungs = [
        RungView(name=rung.name, score=_estimate(rung.score), loses=_estimate(rung.loses), word=rung.word)
        for rung in ladder.rungs
    ]
    return LadderView(axis=axis, rungs=rungs, shape=ladder.shape, knee=ladder.knee, reason=ladder.reason)


def _estimate(value: Estimate | None) -> EstimateView | None:
    return None if value is None else EstimateView.model_validate(value.as_json())


def _estimates(values: Mapping[str, Estimate]) -> dict[str, EstimateView]:
    return {name: EstimateView.model_validate(value.as_json()) for name, value in values.items()}
