"""Tables of a sweep: groups, blocks, a winner where there is one, the ladder, and what may not be claimed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serve_app.runs.model import RunState
from serve_app.runs.sweep import SweepSpec, expand
from serve_app.runs.sweep_model import Cell, CellResult
from serve_app.runs.sweep_table import compared, ladder_of, table_of, tables_of

Points = Callable[[dict[str, Any]], float | None]


def cells_of(spec: SweepSpec, points: Points, **result: Any) -> list[Cell]:
    """Return ended cells with ``points`` of their place."""
    cells = []
    for position, point in enumerate(expand(spec)):
        axes = dict(point.axes)
        fields: dict[str, Any] = {
            "state": RunState.SUCCEEDED,
            "verdict": "pass",
            "is_accepted": True,
            "seconds": 2.0,
            "usd": 0.01,
        }
        fields |= {"judge": "j", "model": "m", "error": None, **result}
        ended = CellResult(points=points(axes), **fields)
        cells.append(Cell(position, point.run_id("s"), point.pipeline, axes, "judge", ended.state, ended))
    return cells


MATRIX = SweepSpec(pipelines=("p",), over={"prompt": ("a", "b", "c", "d"), "seed": (1, 2, 3)})
PROMPTS = {"a": 10.0, "b": 30.0, "c": 50.0, "d": 70.0}
_wobble = itertools.cycle([0.1, -0.2, 0.15, -0.05, 0.02, -0.1, 0.07])


def seeded(axes: dict[str, Any]) -> float:
    """Seed 2 is 9 points better on every prompt; prompts differ by 60."""
    return PROMPTS[axes["prompt"]] + (9.0 if axes["seed"] == 2 else 0.0) + next(_wobble)


def test_the_better_seed_wins_over_prompts_that_differ_far_more() -> None:
    table = table_of(cells_of(MATRIX, seeded), "seed")
    assert (table.ranking.winner, table.ranking.margins["1"].n) == ("2", 4)
    assert [group.name for group in table.groups] == ["1", "2", "3"]
    group = table.groups[1]
    assert group.points is not None
    assert (group.points.n, round(group.points.mean), group.accepted, group.ended) == (4, 49, 4, 4)
    assert group.usd is not None
    assert group.usd.mean == pytest.approx(0.01)


def test_every_axis_of_several_values_has_a_table_and_no_other() -> None:
    spec = SweepSpec(pipelines=("p", "q"), over={"seed": (1, 2), "frames": (9,)})
    assert [table.axis for table in tables_of(spec, cells_of(spec, lambda _: 1.0))] == ["pipeline", "seed"]


def test_no_winner_is_named_before_the_last_cell_has_ended() -> None:
    cells = cells_of(MATRIX, seeded)
    cells[-1] = Cell(cells[-1].position, "r", "p", cells[-1].axes, "judge", RunState.RUNNING, None)
    ranking = table_of(cells, "seed").ranking
    assert (ranking.best, ranking.winner, ranking.reason) == ("2", None, "no winner: 1 of 12 cells have not ended")


def test_rejected_cells_without_a_score_forbid_a_winner() -> None:
    def points(axes: dict[str, Any]) -> float | None:
        return None if axes == {"prompt": "a", "seed": 2} else seeded(axes)

    lost = cells_of(MATRIX, points, state=RunState.REJECTED)
    assert "keep: best" in table_of(lost, "seed").ranking.reason


def test_cells_that_failed_take_their_block_out_of_both_sides_and_say_so() -> None:
    def points(axes: dict[str, Any]) -> float | None:
        return None if axes["prompt"] == "a" else seeded(axes)

    table = table_of(cells_of(MATRIX, points, state=RunState.FAILED), "seed")
    assert (table.ranking.winner, table.ranking.margins["1"].n) == ("2", 3)
    assert table.warnings == ("3 cells have no score; comparisons leave out their blocks, on both sides",)


def test_cells_that_failed_for_one_value_more_than_for_another_forbid_a_winner() -> None:
    def points(axes: dict[str, Any]) -> float | None:
        return None if axes == {"prompt": "a", "seed": 1} else seeded(axes)

    ranking = table_of(cells_of(MATRIX, points, state=RunState.FAILED), "seed").ranking
    assert ranking.winner is None
    assert "the cells without a score fall unequally on seed (1: 1, 2: 0, 3: 0)" in ranking.reason


def test_settings_on_the_same_prompt_and_seed_are_one_pair_and_luck_stays_luck() -> None:
    """Ten settings of a lucky picture are ten looks at one draw: as pairs they would make winners of nothing."""
    over = {"prompt": ("a", "b"), "seed": (1, 2), "guidance": (1, 2, 3, 4, 5)}
    spec = SweepSpec(pipelines=("p",), over=over, variants={"x": {}, "y": {}, "z": {}})
    rng, false, tables = np.random.default_rng(3), 0, 400
    for _ in range(tables):
        luck: dict[tuple[Any, ...], float] = {}

        def points(axes: dict[str, Any], luck: dict[tuple[Any, ...], float] = luck) -> float:
            draw = luck.setdefault((axes["prompt"], axes["seed"], axes["variant"]), float(rng.normal(0, 10)))
            return 60 + draw + float(rng.normal(0, 1))

        ranking = table_of(cells_of(spec, points), "variant").ranking
        assert {margin.n for margin in ranking.margins.values()} == {4}
        false += ranking.winner is not None
    assert false / tables <= 0.06


def test_pictures_are_blocks_and_settings_alone_are_one() -> None:
    cells = cells_of(SweepSpec(pipelines=("p",), over={"guidance": (1, 2, 3, 4), "steps": (10, 30)}), lambda _: 50.0)
    assert "too few pairs (1)" in table_of(cells, "steps").ranking.reason
    shown = [
        dataclasses.replace(cell, axes={**cell.axes, "guidance": {"picture": f"{i // 2}"}})
        for i, cell in enumerate(cells)
    ]
    assert table_of(shown, "steps").ranking.margins["30"].n == 4


def test_a_cost_of_which_a_part_is_unknown_is_unknown() -> None:
    cells = cells_of(MATRIX, seeded, usd=None)
    assert all(group.usd is None for group in table_of(cells, "seed").groups)


def test_two_values_are_compared_in_pairs_by_points_seconds_and_usd() -> None:
    spec = SweepSpec(pipelines=("p",), over={"seed": (1, 2, 3, 4)}, variants={"without": {}, "with": {"adapter": "x"}})
    cells = cells_of(spec, lambda axes: axes["seed"] * 10 + (5.0 if axes["variant"] == "with" else 0.0))
    found = compared(cells, "variant", "with", "without")
    assert {name: None if each is None else (each.n, each.mean) for name, each in found.items()} == {
        "points": (4, 5.0),
        "seconds": (4, 0.0),
        "usd": (4, 0.0),
    }


LADDER = SweepSpec(pipelines=("p",), over={"seed": (1, 2, 3, 4, 5), "steps": (4, 30, 10, 20, 15)})


def test_steps_are_a_ladder_from_the_most_down_and_its_knee_is_found() -> None:
    lost = {30: 0.0, 20: 0.0, 15: 0.0, 10: 12.0, 4: 40.0}
    cells = cells_of(LADDER, lambda axes: 90 + axes["seed"] - lost[axes["steps"]] + next(_wobble))
    found = ladder_of(LADDER, cells)
    assert found is not None
    axis, ladder = found
    assert (axis, [rung.name for rung in ladder.rungs]) == ("steps", ["30", "20", "15", "10", "4"])
    assert (ladder.shape, ladder.knee) == ("knee", "15")


def test_variants_are_a_ladder_as_listed_if_asked_for() -> None:
    variants: dict[str, dict[str, Any]] = {
        "30": {"steps": 30},
        "10+scheduler": {"steps": 10, "scheduler": "beta"},
        "4": {"steps": 4},
    }
    spec = SweepSpec(pipelines=("p",), over={"seed": (1, 2, 3, 4)}, variants=variants, ladder="variant")
    lost = {"30": 0.0, "10+scheduler": 0.1, "4": 30.0}
    found = ladder_of(spec, cells_of(spec, lambda axes: 80 - lost[axes["variant"]] + next(_wobble)))
    assert found is not None
    assert found[1].knee == "10+scheduler"


def test_a_sweep_of_seeds_has_no_ladder() -> None:
    assert ladder_of(MATRIX, cells_of(MATRIX, seeded)) is None
