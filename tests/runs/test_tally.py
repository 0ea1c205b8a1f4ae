"""What the store counts of ended runs, on both databases, and the metrics that come of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serve_app.runs.model import RunRequest, RunState
from serve_app.runs.sql import SqlRunStore
from serve_app.runs.tally import Ended, Figures, Tally, families_of, tally_of
from serve_app.telemetry.metrics import exposition
from tests.runs.conftest import Clock


def step(deployment: str, seconds: float) -> dict[str, Any]:
    return {"node": deployment, "deployment": deployment, "seconds": seconds}


def attempt(number: int, verdict: str | None, detector: str | None) -> dict[str, Any]:
    return {
        "number": number,
        "verdict": verdict,
        "seconds": 2.0,
        "rejection": None if detector is None else {"detector": detector},
        "scores": {"judge": {"points": 40.0}},
        "steps": [step("generate.flux", 1.5), step("judge.image", 0.25)],
    }


REPORT = {
    "attempts": [attempt(1, "fail", "blur"), attempt(2, "pass", None)],
    "cost": {"usd": 0.5},
    "is_accepted": True,
}


def counted(state: RunState, report: dict[str, Any] | None, error: dict[str, Any] | None = None) -> Tally:
    return tally_of(Ended("portrait", state, 3.0, report, error))


def end(store: SqlRunStore, run_id: str, state: RunState, report: dict[str, Any] | None) -> None:
    store.add(RunRequest(run_id, "portrait", {}, {}), 100)
    assert store.claim(run_id, 60.0, 3) is not None
    error = {"code": "bad_adapter"} if state is RunState.FAILED else None
    assert store.finish(run_id, run_id, state, report, error)


def scraped(figures: Figures) -> list[str]:
    return [line for line in exposition(families_of(figures)).decode().splitlines() if not line.startswith("#")]


def test_an_accepted_run_counts_its_attempts_rejections_points_seconds_and_cost() -> None:
    assert counted(RunState.SUCCEEDED, REPORT) == {
        ("runs_ended", ("portrait", "succeeded")): 1,
        ("queued_seconds", ("portrait",)): 3.0,
        ("attempts", ("portrait", "fail")): 1,
        ("attempts", ("portrait", "pass")): 1,
        ("attempt_seconds", ("portrait",)): 4.0,
        ("rejections", ("portrait", "blur")): 1,
        ("judgements", ("portrait", "judge")): 2,
        ("judged_points", ("portrait", "judge")): 80.0,
        ("steps", ("portrait", "generate.flux")): 2,
        ("steps", ("portrait", "judge.image")): 2,
        ("step_seconds", ("portrait", "generate.flux")): 3.0,
        ("step_seconds", ("portrait", "judge.image")): 0.5,
        ("accepted_clips", ("portrait",)): 1,
        ("cost_usd", ("portrait",)): 0.5,
        ("priced_clips", ("portrait",)): 1,
    }


def test_a_failed_run_counts_by_the_code_of_its_error() -> None:
    tally = counted(RunState.FAILED, None, {"code": "bad_adapter"})
    assert tally["run_errors", ("portrait", "bad_adapter")] == 1


def test_an_attempt_that_was_cut_short_counts_as_unfinished() -> None:
    tally = counted(RunState.CANCELLED, {"attempts": [attempt(1, None, None)]})
    assert tally["attempts", ("portrait", "unfinished")] == 1


def test_an_unknown_cost_is_counted_and_never_as_nothing() -> None:
    tally = counted(RunState.SUCCEEDED, {**REPORT, "cost": {"usd": None}})
    assert tally["runs_without_cost", ("portrait",)] == 1
    assert ("cost_usd", ("portrait",)) not in tally
    assert ("priced_clips", ("portrait",)) not in tally


def test_the_headline_is_the_cost_per_accepted_clip_over_rejected_runs_too() -> None:
    own = ("portrait",)
    lines = scraped(Figures({("cost_usd", own): 3.0, ("priced_clips", own): 2.0, ("accepted_clips", own): 5.0}))
    assert 'greenlight_cost_usd_per_accepted_clip{pipeline="portrait"} 1.5' in lines


def test_there_is_no_headline_before_a_clip_was_accepted() -> None:
    lines = scraped(Figures({("cost_usd", ("portrait",)): 3.0}))
    assert not any("per_accepted" in line for line in lines)


def test_the_store_counts_every_run_that_ends_however_it_ends(store: SqlRunStore) -> None:
    end(store, "a", RunState.SUCCEEDED, REPORT)
    end(store, "b", RunState.FAILED, None)
    store.add(RunRequest("c", "portrait", {}, {}), 100)
    store.cancel("c")
    found = store.figures().counted
    assert {labels[1] for name, labels in found if name == "runs_ended"} == {"succeeded", "failed", "cancelled"}
    assert found["attempts", ("portrait", "pass")] == 1
    assert found["run_errors", ("portrait", "bad_adapter")] == 1


def test_a_run_that_has_ended_is_counted_once(store: SqlRunStore) -> None:
    end(store, "a", RunState.SUCCEEDED, REPORT)
    assert not store.finish("a", "a", RunState.SUCCEEDED, REPORT, None)
    store.cancel("a")
    assert store.figures().counted["runs_ended", ("portrait", "succeeded")] == 1


def test_runs_that_end_at_once_are_all_counted(open_store: Callable[[], SqlRunStore]) -> None:
    stores = [open_store() for _ in range(4)]
    for number in range(24):
        stores[0].add(RunRequest(f"r{number}", "portrait", {}, {}), 100)

    def finish(store: SqlRunStore) -> None:
        for _ in range(6):
            run = store.claim(f"{id(store)}", 60.0, 3)
            assert run is not None
            assert store.finish(run.id, f"{id(store)}", RunState.SUCCEEDED, REPORT, None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(finish, stores))
    found = stores[0].figures().counted
    assert found["runs_ended", ("portrait", "succeeded")] == 24
    assert found["cost_usd", ("portrait",)] == pytest.approx(12.0)


def test_what_waits_and_how_long_is_read_from_the_queue(store: SqlRunStore, clock: Clock) -> None:
    store.add(RunRequest("a", "portrait", {}, {}), 100)
    store.claim("a", 600.0, 3)
    store.add(RunRequest("b", "portrait", {}, {}), 100)
    clock.advance(5)
    store.add(RunRequest("c", "landscape", {}, {}), 100)
    clock.advance(2)
    figures = store.figures()
    assert figures.unended == {("portrait", "running"): 1, ("portrait", "queued"): 1, ("landscape", "queued"): 1}
    assert figures.oldest_queued_s == pytest.approx(7)


def test_counters_survive_the_process(open_store: Callable[[], SqlRunStore]) -> None:
    end(open_store(), "a", RunState.SUCCEEDED, REPORT)
    assert open_store().figures().counted["runs_ended", ("portrait", "succeeded")] == 1
