"""From a sweep over seeds to a seed table: only a seed that won gets in, with how it was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve_app.core.errors import InvalidInput
from serve_app.core.optimal_seeds import Measurement, OptimalSeed
from serve_app.runs.model import RunState
from serve_app.runs.sweep import SweepSpec
from serve_app.runs.sweep_model import Cell, CellResult
from serve_app.runs.sweep_table import Table, table_of

Found = tuple[dict[str, OptimalSeed], dict[str, str]]
"""The seeds that won, and why there is none, each by pipeline."""


def seed_axis(pipeline: Mapping[str, Any], spec: SweepSpec) -> str:
    """Return the axis that is the pipeline's seed, under whatever name; raise InvalidInput when none is."""
    for name, each in pipeline["inputs"].items():
        if each["type"] == "seed":
            axis = next((alias for alias in (name, *each.get("aliases", ())) if alias in spec.over), None)
            if axis is not None:
                return str(axis)
    raise InvalidInput("--save-optimal", f"the sweep has no axis for the seed of {pipeline['name']}")


def winners(view: Mapping[str, Any], axes: Mapping[str, str]) -> Found:
    """Return each pipeline's winning seed; ``axes`` names its seed's axis. Every pipeline is judged by itself."""
    seeds, reasons = {}, {}
    for pipeline, axis in axes.items():
        cells = [cell for cell in cells_in(view) if cell.pipeline == pipeline]
        table = table_of(cells, axis)
        seed = next((group.value for group in table.groups if group.name == table.ranking.winner), None)
        if seed is None:
            reasons[pipeline] = table.ranking.reason
        else:
            provenance = _measurement(table, cells, str(view["finished_at"])[:10]).provenance()
            seeds[pipeline] = OptimalSeed(seed=seed, provenance=provenance)
    return seeds, reasons


def _measurement(table: Table, cells: list[Cell], date: str) -> Measurement:
    margins = table.ranking.margins.values()
    results = [cell.result for cell in cells if cell.result is not None]
    group = next(group for group in table.groups if group.name == table.ranking.winner)
    return Measurement(
        n=min(margin.n for margin in margins),
        date=date,
        model=_joined({result.model for result in results}),
        judge=_joined({result.judge for result in results}),
        mean=0.0 if group.points is None else group.points.mean,
        lead=min(margin.mean for margin in margins),
        others=len(table.groups) - 1,
    )


def _joined(names: set[str | None]) -> str:
    return "+".join(sorted(name for name in names if name)) or "unknown"


def cells_in(view: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a sweep's view as the statistics take them."""
    return [_cell(position, each) for position, each in enumerate(view["cells"])]


def _cell(position: int, each: Mapping[str, Any]) -> Cell:
    state = None if each["state"] is None else RunState(each["state"])
    result = None
    if state is not None and each["seconds"] is not None:
        names = ("points", "verdict", "is_accepted", "seconds", "usd", "judge", "model", "error")
        result = CellResult(state=state, **{name: each[name] for name in names})
    return Cell(position, each["run_id"], each["pipeline"], each["axes"], "", state, result)
