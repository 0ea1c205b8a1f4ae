"""What a sweep found, as tables: for each axis the means of its values, the winner if there is one, and the ladder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from serve_app.runs.ladder import Ladder, climb_down
from serve_app.runs.model import RunState
from serve_app.runs.statistics import Estimate, Ranking, Scores, difference, estimate, rank
from serve_app.runs.sweep import SweepSpec, axes_of, key_of
from serve_app.runs.sweep_model import Cell, CellResult

STEPS = ("steps", "num_inference_steps")
"""The axes that are a ladder without being told."""
TEXTS = ("prompt", "text", "subject")
"""The text inputs that say what to make, by the last word of their names; other texts are settings."""
FEWEST_RUNGS = 3

Read = Callable[[CellResult], float | None]
MEASURES: Mapping[str, Read] = {
    "points": lambda result: result.points,
    "seconds": lambda result: result.seconds,
    "usd": lambda result: result.usd,
}
"""What can be compared between two values of an axis."""


@dataclass(frozen=True)
class Group:
    """One value of an axis over everything else: ``name`` as text, and its cells' figures. None: no such figure."""

    name: str
    value: Any
    points: Estimate | None
    seconds: Estimate | None
    usd: Estimate | None
    ended: int
    accepted: int


@dataclass(frozen=True)
class Table:
    """One axis: its groups in the order in which they were listed, and who won."""

    axis: str
    groups: tuple[Group, ...]
    ranking: Ranking
    warnings: tuple[str, ...]


def tables_of(spec: SweepSpec, cells: Sequence[Cell]) -> list[Table]:
    """Return a table for every axis of more than one value."""
    return [table_of(cells, axis) for axis, values in axes_of(spec).items() if len(values) > 1]


def table_of(cells: Sequence[Cell], axis: str) -> Table:
    """Return the table of one axis. A winner waits for the last cell, so that nobody can stop at a lucky moment."""
    parts = _parts(cells, axis)
    groups = tuple(_group(name, part, axis) for name, part in parts.items())
    ranking = rank({name: scores_of(part, axis) for name, part in parts.items()})
    refusal = _refusal(cells, axis)
    if refusal is not None:
        ranking = Ranking(ranking.best, None, f"no winner: {refusal}", ranking.margins)
    return Table(axis, groups, ranking, _warnings(cells))


def scores_of(part: Sequence[Cell], axis: str, read: Read = MEASURES["points"]) -> Scores:
    """Return block -> mean figure for cells of one value of ``axis``; a block is a seed with its texts and pictures.

    Cells that differ only in settings share the block's luck, so they are no pairs of their own. A block that lacks the
    figure of any cell is left out, or two means would be of different settings.
    """
    names = {name for cell in part for name, value in cell.axes.items() if name != axis and _is_subject(name, value)}
    blocks: dict[str, list[float | None]] = {}
    for cell in part:
        block = json.dumps({name: cell.axes[name] for name in names if name in cell.axes}, sort_keys=True)
        blocks.setdefault(block, []).append(None if cell.result is None else read(cell.result))
    return {block: fmean(figures) for block, values in blocks.items() if (figures := _whole(values)) is not None}


def _parts(cells: Sequence[Cell], axis: str) -> dict[str, list[Cell]]:
    """Return the cells by their value of ``axis``, as text, in the order in which the values were listed."""
    parts: dict[str, list[Cell]] = {}
    for cell in cells:
        parts.setdefault(key_of(cell.axes[axis]), []).append(cell)
    return parts


def compared(cells: Sequence[Cell], axis: str, first: str, second: str) -> dict[str, Estimate | None]:
    """Return ``first`` minus ``second`` (values of ``axis``, as text), in pairs, for each of MEASURES."""
    parts = _parts(cells, axis)
    return {
        measure: difference(scores_of(parts[first], axis, read), scores_of(parts[second], axis, read))
        for measure, read in MEASURES.items()
    }


def ladder_of(spec: SweepSpec, cells: Sequence[Cell]) -> tuple[str, Ladder] | None:
    """Return the ladder's axis and what it shows; None without one, or before every cell has ended.

    Numbers go from the greatest down; other values, and variants, as they were listed.
    """
    axes = axes_of(spec)
    axis = spec.ladder or next((name for name in STEPS if name in axes and len(axes[name]) >= FEWEST_RUNGS), None)
    if axis is None or any(cell.result is None for cell in cells):
        return None
    parts = _parts(cells, axis)
    values = {name: part[0].axes[axis] for name, part in parts.items()}
    names = list(parts)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values()):
        names.sort(key=lambda name: -values[name])
    return axis, climb_down([(name, scores_of(parts[name], axis)) for name in names], spec.tolerance)


def _is_subject(name: str, value: Any) -> bool:
    """Return whether an axis says what is made and with which luck, rather than how."""
    if isinstance(value, dict) and "picture" in value:
        return True
    return not name.startswith("negative") and name.rpartition("_")[2] in ("seed", *TEXTS)


def _whole(values: Sequence[float | None]) -> list[float] | None:
    """Return ``values``, or None when one of them is missing."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _group(name: str, part: Sequence[Cell], axis: str) -> Group:
    results = [cell.result for cell in part if cell.result is not None]
    figures = {measure: [read(result) for result in results] for measure, read in MEASURES.items()}
    usd = figures["usd"]
    return Group(
        name,
        part[0].axes[axis],
        points=estimate([each for each in figures["points"] if each is not None]),
        seconds=estimate([each for each in figures["seconds"] if each is not None]),
        usd=None if None in usd else estimate([each for each in usd if each is not None]),  # a part of it would flatter
        ended=len(results),
        accepted=sum(result.is_accepted for result in results),
    )


def _refusal(cells: Sequence[Cell], axis: str) -> str | None:
    """Return why no winner may be named whatever the scores say; None when one may."""
    missing = sum(cell.result is None for cell in cells)
    if missing:
        return f"{missing} of {len(cells)} cells have not ended"
    results = [cell.result for cell in cells if cell.result is not None]
    unscored = sum(result.state is RunState.REJECTED and result.points is None for result in results)
    if unscored:
        return f"{unscored} rejected cells have no score, and the rest would flatter; use the policy keep: best"
    lost = {name: len(_unscored(part)) for name, part in _parts(cells, axis).items()}
    if len(set(lost.values())) > 1:
        counts = ", ".join(f"{name}: {count}" for name, count in lost.items())
        return f"the cells without a score fall unequally on {axis} ({counts}), and the rest would flatter"
    return None


def _unscored(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.result is not None and cell.result.points is None]


def _warnings(cells: Sequence[Cell]) -> tuple[str, ...]:
    lost = _unscored(cells)
    if not lost:
        return ()
    return (f"{len(lost)} cells have no score; comparisons leave out their blocks, on both sides",)
