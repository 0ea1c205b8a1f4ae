"""The queue end to end on a real SQLite file, with small real stages: attempts, budget, resume, cancel, loss."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serve_app.runs.attempt import derived_seed
from serve_app.runs.model import RunRequest, RunState
from tests.graph.stages import Counting, in_process, lose
from tests.runs.house import BRIGHT, DARK, House


def _work_until_the_second_draft(root: Path) -> None:
    def die(node: str, count: int) -> None:
        if node == "draft" and count == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    House(root, Counting(in_process(root), die), lease_s=1.0).work()


def slow(slowed: str, count: int, seconds: float) -> Callable[[str, int], None]:
    """Return a `before` that holds the event loop up before one call of a node."""

    def before(node: str, number: int) -> None:
        if node == slowed and number == count:
            time.sleep(seconds)

    return before


def dark_seed() -> int:
    """Return a dark seed whose second attempt is dark too and whose third is bright."""
    return next(
        seed
        for seed in range(100)
        if derived_seed(seed, 2) % 256 < 128 <= derived_seed(seed, 3) % 256 and seed % 256 < 128
    )


def test_a_run_that_passes_succeeds_with_its_outputs(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(BRIGHT)
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert set(report["outputs"]) == {"file", "sheet"}
    assert report["verdict"]["word"] == "pass"
    assert house.kinds(run_id)[-1] == "succeeded"


def test_a_rejected_attempt_is_tried_again_with_a_new_seed_and_all_are_reported(tmp_path: Path) -> None:
    house, seed = House(tmp_path), dark_seed()
    run_id = house.submit(seed)
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert [a["seed"] for a in report["attempts"]] == [seed, derived_seed(seed, 2), derived_seed(seed, 3)]
    assert [a["verdict"] for a in report["attempts"]] == ["fail", "fail", "pass"]
    assert report["attempts"][0]["rejection"]["detector"] == "dark"
    assert report["delivered_attempt"] == 3
    assert report["cost"]["usd"] > report["attempts"][2]["cost"]["usd"], "rejected attempts cost too"


def test_the_same_seed_is_used_again_when_the_policy_varies_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(DARK, {"vary": "nothing", "attempts": 2})
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    assert [a["seed"] for a in report["attempts"]] == [DARK, DARK]


def test_a_run_without_an_accepted_attempt_is_rejected_and_delivers_nothing_but_evidence(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(DARK, {"attempts": 1})
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    assert report["outputs"] == {}
    assert set(report["evidence"]) == {"sheet"}
    assert run.error is not None
    assert run.error["rejection"]["detector"] == "dark"


def test_keep_best_finishes_the_best_attempt_and_marks_it_rejected(tmp_path: Path) -> None:
    house = House(tmp_path)
    seed = next(s for s in range(100) if s < 128 and s < derived_seed(s, 2) % 256 < 128)
    run_id = house.submit(seed, {"attempts": 2, "keep": "best"})
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    assert report["delivered_attempt"] == 2
    assert set(report["outputs"]) == {"file", "sheet"}
    assert not report["is_accepted"]
    assert house.caller.calls["draft"] == 2, "the best attempt's clip was still there"


def test_the_budget_ends_the_attempts(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(DARK, {"vary": "nothing", "attempts": 20, "budget_s": 1.0}, frames=4, pause_s=0.1)
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    assert 1 <= len(report["attempts"]) <= 3
    assert "budget.spent" in house.kinds(run_id)
    assert report["verdict"]["detector"] == "dark", "the attempts that were judged are the result"


def test_an_attempt_that_the_budget_cut_short_is_reported_with_what_it_cost(tmp_path: Path) -> None:
    house = House(tmp_path, Counting(in_process(tmp_path), slow("gate", count=2, seconds=3.0)))
    run_id = house.submit(DARK, {"vary": "nothing", "attempts": 3, "budget_s": 1.5})
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    first, second = report["attempts"]
    assert (first["is_finished"], first["verdict"]) == (True, "fail")
    assert (second["is_finished"], second["verdict"], second["seed"]) == (False, None, DARK)
    assert {step["node"] for step in second["steps"]} >= {"draft", "judge"}
    assert run.error is not None
    assert "(1 in all)" in run.error["detail"]
    assert report["evidence"].keys() == {"sheet"}


def test_what_a_lost_runner_did_counts_towards_the_budget(tmp_path: Path) -> None:
    house = House(tmp_path, Counting(in_process(tmp_path), lose("judge", times=2)))
    run_id = house.submit(BRIGHT, {"budget_s": 1.0}, frames=6, pause_s=0.1)
    house.work()
    successor = House(tmp_path)
    successor.work()
    run, report = successor.ended(run_id)
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error["code"] == "deadline_exceeded"
    assert report["attempts"][0]["seconds"] >= 0.6


def test_a_budget_too_small_for_one_attempt_fails_the_run(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(BRIGHT, {"budget_s": 0.2}, frames=100, pause_s=0.05)
    house.work()
    run, _ = house.ended(run_id)
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error["code"] == "deadline_exceeded"


def test_cancel_stops_a_run_in_the_middle_of_a_step(tmp_path: Path) -> None:
    house = House(tmp_path, lease_s=1.0)
    run_id = house.submit(BRIGHT, frames=1000, pause_s=0.02)
    worker = threading.Thread(target=house.work)
    worker.start()
    while "step.progress" not in house.kinds(run_id):
        time.sleep(0.05)
    house.store.cancel(run_id)
    worker.join(10)
    run, report = house.ended(run_id)
    assert run.state is RunState.CANCELLED
    (attempt,) = report["attempts"]
    assert (attempt["is_finished"], [step["ended"] for step in attempt["steps"]]) == (False, ["cancelled"])
    assert attempt["cost"]["usd"] > 0, "what a cancelled step held has been paid for"


def test_a_run_whose_queue_died_is_taken_over_and_its_finished_attempts_are_not_repeated(tmp_path: Path) -> None:
    successor, seed = House(tmp_path), dark_seed()
    run_id = successor.submit(seed)
    victim = multiprocessing.get_context("spawn").Process(target=_work_until_the_second_draft, args=(tmp_path,))
    victim.start()
    victim.join(60)
    assert victim.exitcode == -signal.SIGKILL
    assert successor.store.get(run_id).state is RunState.RUNNING
    time.sleep(1.1)
    successor.work()
    run, report = successor.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert len(report["attempts"]) == 3
    assert successor.caller.calls["draft"] == 2, "attempt 1 was remembered"


def test_what_shows_a_clip_that_was_lost_in_a_crash_is_made_again_with_it(tmp_path: Path) -> None:
    house = House(tmp_path, Counting(in_process(tmp_path), lose("file", times=2)))
    run_id = house.submit(BRIGHT)
    house.work()  # two losses are more than one retry: the run goes back into the queue
    assert house.store.get(run_id).state is RunState.QUEUED
    successor = House(tmp_path)
    successor.work()
    run, _ = successor.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert successor.caller.calls["sheet"] == 1, "the sheet that was remembered shows another clip"


def test_a_run_that_keeps_losing_its_replicas_is_given_up_with_its_reason(tmp_path: Path) -> None:
    house = House(tmp_path, Counting(in_process(tmp_path), lose("draft", times=99)))
    run_id = house.submit(BRIGHT)
    for _ in range(3):
        house.work()
    run = house.store.get(run_id)
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error["code"] == "abandoned"


def test_a_run_of_a_pipeline_that_is_gone_fails_and_says_so(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.store.add(RunRequest("old", "gone", {}, {}), 10)
    house.work()
    run = house.store.get("old")
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert "gone" in run.error["detail"]


def test_stopping_the_queue_puts_its_run_back_at_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(BRIGHT, frames=1000, pause_s=0.02)

    async def start_and_stop() -> None:
        house.queue.start()
        while "step.progress" not in house.kinds(run_id):
            await asyncio.sleep(0.05)
        await house.queue.stop()

    asyncio.run(start_and_stop())
    assert house.store.get(run_id).state is RunState.QUEUED
