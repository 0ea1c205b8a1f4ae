"""Attempts as values: their seeds, their rank, and what is remembered of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from serve_app.core.score import Score
from serve_app.graph.record import Called, Resources, StepRecord
from serve_app.runs.attempt import END, Attempt, Result, attempts_in, derived_seed, records_in, seed_of
from serve_app.runs.store import Recalled
from serve_app.runs.values import to_json


def record(node: str, started_s: float, seconds: float = 1.0) -> StepRecord:
    return StepRecord(node, f"test.{node}", node, started_s, seconds, 0.0, Resources(), {})


def score(points: float) -> Score:
    return Score("test", points, "", ())


def attempt(*points: float, rejection: dict[str, Any] | None = None) -> Attempt:
    return Attempt(1, 7, 2.0, (), {f"judge{i}": score(each) for i, each in enumerate(points)}, rejection)


def test_seeds_are_the_requests_own_then_derived_ones_that_never_change() -> None:
    assert [seed_of(7, "seed", number) for number in (1, 2, 3)] == [7, derived_seed(7, 2), derived_seed(7, 3)]
    assert derived_seed(7, 2) == 2374935413
    assert [seed_of(7, "nothing", number) for number in (1, 2)] == [7, 7]
    assert seed_of(None, "seed", 2) is None


def test_an_attempt_that_more_judges_saw_ranks_higher_then_the_one_whose_worst_score_is_better() -> None:
    ranked = sorted([attempt(90), attempt(10, 20), attempt(), attempt(15, 99)], key=lambda each: each.rank)
    assert [len(each.values) for each in ranked] == [0, 1, 2, 2]
    assert ranked[-1].rank == (2, 15)


def test_the_rank_survives_being_remembered() -> None:
    before = attempt(81.23456789)
    recalled = remembered({(1, "judge0"): to_json(Called(score(81.23456789), record("judge0", 1))), (1, END): end()})
    (after,) = attempts_in(recalled, lambda number: None)
    assert before.rank == after.rank


def test_an_attempt_comes_back_from_its_end_with_every_record_once() -> None:
    draft, judge = record("draft", 1.0), record("judge", 2.0)
    again = record("draft", 3.0)
    ended = replace(attempt(), records=(draft, judge, again))
    recalled = remembered(
        {
            (1, "judge"): to_json(Called(score(50), judge)),
            (1, "draft"): to_json(Called("a clip", draft)),
            (1, END): ended.end_json(),
        }
    )
    (found,) = attempts_in(recalled, lambda number: 99)
    assert found.records == (draft, judge, again)
    assert (found.seed, found.seconds, found.is_finished) == (7, 2.0, True)
    assert found.values == {"judge": score(50)}


def test_an_attempt_without_an_end_was_cut_short_and_has_the_seed_it_would_have_had() -> None:
    recalled = remembered({(2, "draft"): to_json(Called("a clip", record("draft", 1.0, 4.0)))})
    (found,) = attempts_in(recalled, lambda number: 100 + number)
    assert (found.number, found.seed, found.seconds, found.is_finished) == (2, 102, 4.0, False)
    assert records_in(recalled, 1) == ()


@pytest.mark.parametrize("finished", [[], [1], [1, 2]])
def test_what_was_cut_short_says_nothing_about_the_run(finished: list[int]) -> None:
    done = [replace(attempt(), number=number) for number in finished]
    cut = replace(attempt(), number=len(finished) + 1, is_finished=False)
    judged = Result((*done, cut), None, is_accepted=False).judged
    assert (judged and judged.number) == (finished[-1] if finished else None)


def end() -> dict[str, Any]:
    return attempt().end_json()


def remembered(recalled: Recalled) -> Recalled:
    return {key: json.loads(json.dumps(value, allow_nan=False)) for key, value in recalled.items()}
