"""What the queue does when something goes: a clip on its way, the store for a moment, a lease, memory."""

from __future__ import annotations

import itertools
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from serve_app.core.errors import InputLost, Unavailable
from serve_app.core.media import Clip
from serve_app.graph.callers import Call, Caller
from serve_app.graph.record import Called
from serve_app.runs.attempt import Result, records_in
from serve_app.runs.attempts import RESTARTS
from serve_app.runs.ledger import Prices
from serve_app.runs.model import Run, RunState
from serve_app.runs.queue import Queue, QueueSettings
from serve_app.runs.report import Reporter
from serve_app.runs.sql import SqlRunStore
from tests.graph.stages import Counting, in_process, lose
from tests.runs.house import BRIGHT, DARK, House


class Lossy(Counting):
    """A caller that finds a value gone on its way to a node, the first ``times``."""

    def __init__(self, root: Path, lost: str, times: int) -> None:
        def before(node: str, count: int) -> None:
            if node == lost and count <= times:
                raise InputLost(node, "the node that held the clip died")

        super().__init__(in_process(root), before)


class Absent(SqlRunStore):
    """A store whose method ``name`` cannot be reached the first ``times`` it is used."""

    def __init__(self, root: Path, name: str, times: int) -> None:
        super().__init__(f"sqlite:///{root / 'runs.db'}")
        method, left = getattr(self, name), itertools.count(times, -1)

        def use(*args: Any) -> Any:
            if next(left) > 0:
                raise Unavailable("the run store", "no route to host")
            return method(*args)

        setattr(self, name, use)


class Broken(Reporter):
    """A reporter with a mistake in it."""

    def report(self, run: Run, state: RunState, result: Result) -> dict[str, Any]:
        raise KeyError("oops")


class Weighing:
    """A caller that counts the clips alive, when the next is about to be made and now."""

    def __init__(self, inner: Caller) -> None:
        self._inner, self._clips = inner, list[weakref.ref[Clip]]()
        self.most_alive = 0

    @property
    def alive(self) -> int:
        return sum(clip() is not None for clip in self._clips)

    async def call(self, call: Call) -> Called:
        if call.step.node == "draft":
            self.most_alive = max(self.most_alive, self.alive + 1)
        called = await self._inner.call(call)
        if call.step.node == "draft":
            self._clips.append(weakref.ref(called.value))
        return called

    async def prepare(self, call: Call) -> None:
        await self._inner.prepare(call)


def test_a_lost_clip_is_made_again_and_so_is_what_was_made_of_it(tmp_path: Path) -> None:
    house = House(tmp_path, Lossy(tmp_path, "file", times=1))
    run_id = house.submit(BRIGHT)
    house.work()
    run, _ = house.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert house.caller.calls["draft"] == 2
    assert house.caller.calls["judge"] == 2, "the score of a lost clip says nothing of the next one"
    assert house.caller.calls["file"] == 2, "and no call is repeated with what is gone"
    assert house.kinds(run_id).count("attempt.restarted") == 1
    assert house.steps(run_id, attempt=1).count("draft") == 2, "what was done twice costs twice"


def test_a_clip_that_is_lost_again_and_again_puts_the_run_back_into_the_queue(tmp_path: Path) -> None:
    house = House(tmp_path, Lossy(tmp_path, "file", times=99))
    run_id = house.submit(BRIGHT)
    house.work()
    assert house.store.get(run_id).state is RunState.QUEUED
    assert house.caller.calls["file"] == 1 + RESTARTS


def test_a_lost_clip_of_the_best_attempt_is_made_again(tmp_path: Path) -> None:
    house = House(tmp_path, Lossy(tmp_path, "file", times=1))
    run_id = house.submit(DARK, {"attempts": 1, "keep": "best"})
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    assert "file" in report["outputs"]
    assert house.caller.calls["draft"] == 2


def test_a_best_attempt_whose_runner_died_is_made_again_and_finished(tmp_path: Path) -> None:
    house = House(tmp_path, Counting(in_process(tmp_path), lose("file", times=2)))
    run_id = house.submit(DARK, {"attempts": 1, "keep": "best"})
    house.work()
    assert house.store.get(run_id).state is RunState.QUEUED
    successor = House(tmp_path)
    successor.work()
    _, report = successor.ended(run_id)
    assert "file" in report["outputs"]
    assert set(successor.caller.calls.values()) == {1}, "its clip was lost, and what was made of it no longer holds"
    assert successor.steps(run_id, attempt=1).count("draft") == 2, "both runners' work is in the bill"


def test_a_store_that_is_away_for_a_moment_repeats_no_step(tmp_path: Path) -> None:
    house = House(tmp_path, store=Absent(tmp_path, "remember", times=2))
    run_id = house.submit(BRIGHT)
    house.work()
    run, _ = house.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert set(house.caller.calls.values()) == {1}
    assert "step.retried" not in house.kinds(run_id)


@pytest.mark.parametrize("name", ["beat", "append", "recall", "finish"])
def test_a_store_that_is_away_for_a_moment_loses_nothing(tmp_path: Path, name: str) -> None:
    house = House(tmp_path, store=Absent(tmp_path, name, times=2))
    run_id = house.submit(BRIGHT)
    house.work()
    run, _ = house.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert set(house.caller.calls.values()) == {1}
    kinds = house.kinds(run_id)
    assert (kinds[0], kinds[-1]) == ("run.started", "succeeded")


def test_work_stops_when_no_beat_came_through_for_as_long_as_the_lease_lasts(tmp_path: Path) -> None:
    house = House(tmp_path, lease_s=0.5, store=Absent(tmp_path, "beat", times=99))
    run_id = house.submit(BRIGHT, frames=1000, pause_s=0.05)
    began = time.monotonic()
    house.work()
    assert 0.5 <= time.monotonic() - began < 5.0
    assert house.store.get(run_id).state is RunState.RUNNING, "it is for the next to say how it ended"
    time.sleep(0.6)
    assert house.store.claim("another", 5.0, 3) is not None


def test_a_run_that_cannot_be_reported_fails_and_its_runner_lives(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.queue = Queue(
        house.store, {"bright": house.plan}, house.caller, Broken({}, Prices()), QueueSettings(poll_s=0.01)
    )
    run_id = house.submit(BRIGHT)
    house.work()
    run = house.store.get(run_id)
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error["code"] == "internal"


@pytest.mark.parametrize("seed", [DARK, BRIGHT])
def test_no_clip_is_held_when_its_attempt_is_over(tmp_path: Path, seed: int) -> None:
    caller = Weighing(in_process(tmp_path))
    house = House(tmp_path, caller)
    house.submit(seed, {"attempts": 3, "vary": "nothing"})
    house.work()
    assert caller.most_alive == 1
    assert caller.alive == 0


def test_no_clip_is_held_when_its_run_has_failed(tmp_path: Path) -> None:
    caller = Weighing(Counting(in_process(tmp_path), lose("judge", times=99)))
    house = House(tmp_path, caller)
    house.submit(BRIGHT)
    house.work()
    assert caller.most_alive == 1
    assert caller.alive == 0


def test_a_clip_that_was_lost_with_its_runner_is_judged_again_and_its_second_making_is_paid_for(tmp_path: Path) -> None:
    first = House(tmp_path, Counting(in_process(tmp_path), lose("file", times=2)))
    run_id = first.submit(BRIGHT)
    first.work()
    second = House(tmp_path, Counting(in_process(tmp_path), lose("file", times=99)))
    second.work()
    assert second.caller.calls["judge"] == 1
    made = [record.node for record in records_in(second.store.recall(run_id), 1) if record.ended == "done"]
    assert (made.count("draft"), made.count("judge")) == (2, 2), "a successor's budget sees both"
    assert second.store.get(run_id).state is RunState.QUEUED
    for _ in range(2):
        second.work()
    assert second.store.get(run_id).error is not None, "what is made again is no progress"
