"""Intervals that keep their promise, a planted winner that is found, and luck that is called luck."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.runs.statistics import Scores, difference, estimate, rank


def groups(values: np.ndarray) -> dict[str, Scores]:
    """Return rows as groups and columns as blocks."""
    return {f"g{i}": {f"b{j}": float(value) for j, value in enumerate(row)} for i, row in enumerate(values)}


def test_an_interval_is_students() -> None:
    found = estimate([90.0, 92.0, 97.0])
    assert found is not None
    reach = 4.30265273 * 3.605551275 / 3**0.5
    assert (found.n, found.mean) == (3, 93.0)
    assert [found.sd, found.low, found.high] == pytest.approx([3.605551275, 93 - reach, 93 + reach])


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one = estimate([5.0])
    assert one is not None
    assert (one.mean, one.sd, one.low, one.high) == (5.0, None, None, None)
    assert estimate([]) is None


@pytest.mark.parametrize("n", [3, 8])
def test_95_of_100_intervals_hold_the_truth(n: int) -> None:
    rng = np.random.default_rng(n)
    held = 0
    for row in rng.normal(70, 12, (2000, n)):
        found = estimate([float(value) for value in row])
        assert found is not None
        held += (found.low or 0) <= 70 <= (found.high or 0)
    assert 0.935 <= held / 2000 <= 0.965


def test_a_difference_is_taken_in_pairs_of_what_both_have() -> None:
    found = difference({"a": 80, "b": 60, "c": 40}, {"a": 75, "b": 54, "d": 10})
    assert found is not None
    assert (found.n, found.mean) == (2, 5.5)
    assert difference({"a": 1}, {"b": 1}) is None


@pytest.mark.parametrize(("k", "n"), [(3, 4), (5, 5), (5, 12), (10, 8)])
def test_data_without_a_difference_has_no_winner_in_95_of_100_tables(k: int, n: int) -> None:
    rng = np.random.default_rng(100 * k + n)
    tables = [rng.normal(0, 15, n) + rng.normal(70, 5, (k, n)) for _ in range(600)]  # prompts differ, seeds do not
    assert sum(rank(groups(table)).winner is not None for table in tables) / 600 <= 0.05


def test_two_equals_above_the_rest_are_the_hardest_case_and_stay_within_five_in_100() -> None:
    rng = np.random.default_rng(5)
    false = 0
    for _ in range(1500):
        table = rng.normal(70, 5, (4, 8))
        table[2:] -= 40
        false += rank(groups(table)).winner is not None
    assert false / 1500 <= 0.05


def test_two_alone_are_tested_at_five_in_100() -> None:
    rng = np.random.default_rng(6)
    false = sum(rank(groups(rng.normal(70, 5, (2, 6)))).winner is not None for _ in range(3000))
    assert 0.035 <= false / 3000 <= 0.06


def test_scores_in_few_steps_do_not_look_like_certainty() -> None:
    """Capped scores take the same difference by chance, and then their spread is nought."""
    rng = np.random.default_rng(7)
    steps = np.array([49.0, 74.0, 95.0])
    false = sum(rank(groups(rng.choice(steps, (4, 3)))).winner is not None for _ in range(2000))
    assert false / 2000 <= 0.05


def test_the_planted_best_is_found_although_prompts_differ_far_more() -> None:
    rng = np.random.default_rng(8)
    found = 0
    for _ in range(100):
        table = rng.normal(0, 20, 8) + rng.normal(70, 3, (5, 8))
        table[3] += 10
        found += rank(groups(table)).winner == "g3"
    assert found >= 95


def test_a_seed_of_one_draw_each_is_luck() -> None:
    ranking = rank({"1": {"x": 99.0}, "2": {"x": 10.0}})
    assert (ranking.best, ranking.winner) == ("1", None)
    assert "too few" in ranking.reason


def test_whoever_is_not_separated_is_named() -> None:
    ranking = rank({"a": dict.fromkeys("xyzw", 90.0), "b": {"x": 70, "y": 91, "z": 80, "w": 99}, "c": {}})
    assert ranking.winner is None
    near = rank({"a": {"x": 90, "y": 91, "z": 92, "w": 90}, "b": {"x": 80, "y": 95, "z": 85, "w": 95}})
    assert near.reason == "no winner: the data does not separate a from b"


def test_nothing_and_one_thing_have_no_winner() -> None:
    assert rank({}).best is None
    assert rank({"a": {"x": 1.0, "y": 2.0, "z": 3.0}}).reason == "there is nothing to compare it with"


def test_a_planted_gain_is_recovered_by_pairs() -> None:
    rng = np.random.default_rng(9)
    without = rng.normal(0, 15, 8) + 60
    with_it = without * 1.1 + rng.normal(0, 0.5, 8)
    first, second = groups(np.stack([with_it, without])).values()
    found = difference(first, second)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < float(np.mean(without)) * 0.1 < found.high
    assert found.low > 0
