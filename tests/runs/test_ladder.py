"""30, 20, 15, 10, 4 steps: where the score holds and where it falls, or that nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.runs.ladder import Ladder, climb_down
from serve_app.runs.statistics import Scores


def ladder(means: list[float], noise: float = 0.3, blocks: int = 6) -> Ladder:
    rng = np.random.default_rng(1)
    prompts = rng.normal(0, 10, blocks)
    rungs: list[tuple[str, Scores]] = []
    for name, mean in zip(("30", "20", "15", "10", "4"), means, strict=False):
        values = mean + prompts + rng.normal(0, noise, blocks)
        rungs.append((name, {f"b{index}": float(value) for index, value in enumerate(values)}))
    return climb_down(rungs, tolerance=2.0)


@pytest.mark.parametrize(
    ("means", "shape", "knee"),
    [
        ([90, 90, 90, 80, 60], "knee", "15"),
        ([90, 90, 90, 90, 60], "knee", "10"),
        ([90, 80, 70, 60, 40], "monotone", None),
        ([90, 90, 90, 90, 90], "flat", "4"),
        ([90, 80, 89, 60, 40], "not monotone", None),
    ],
)
def test_the_shape_of_a_ladder(means: list[float], shape: str, knee: str | None) -> None:
    found = ladder(means)
    assert (found.shape, found.knee) == (shape, knee)


def test_that_no_difference_was_shown_does_not_make_rungs_equal() -> None:
    found = ladder([90, 90, 90, 90, 90], noise=8.0, blocks=4)
    assert (found.shape, found.knee) == ("undecided", None)
    assert "holds" not in {rung.word for rung in found.rungs}


def test_two_blocks_are_too_few_for_any_word() -> None:
    assert {rung.word for rung in ladder([90, 50, 10], blocks=2).rungs} == {"top", "undecided"}


def test_a_rung_says_what_it_loses() -> None:
    rung = ladder([90, 90, 90, 80, 60]).rungs[3]
    assert rung.word == "falls"
    assert rung.loses is not None
    assert rung.loses.mean == pytest.approx(10, abs=0.5)
