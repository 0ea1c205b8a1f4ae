"""Who works on a run: claims, leases, heartbeats, releases and ends, on a SQLite file and on PostgreSQL."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from serve_app.runs.model import Beat, Run, RunState
from serve_app.runs.sql import SqlRunStore
from serve_app.runs.store import RunStore
from tests.runs.conftest import Clock
from tests.runs.test_store import add


def claim(store: RunStore, owner: str, max_claims: int = 3) -> Run:
    run = store.claim(owner, 10, max_claims)
    assert run is not None
    return run


def lose(store: RunStore, clock: Clock, times: int) -> None:
    """Claim the only run and die, ``times`` times."""
    for number in range(times):
        claim(store, f"lost-{number}", max_claims=100)
        clock.advance(11)


# --- claim


def test_nothing_is_claimed_from_an_empty_queue(store: RunStore) -> None:
    assert store.claim("runner", 10, 3) is None


def test_the_oldest_queued_run_is_claimed_first(store: RunStore) -> None:
    add(store, "one", "two")
    assert [claim(store, "a").id, claim(store, "b").id, store.claim("c", 10, 3)] == ["one", "two", None]


def test_a_claimed_run_is_running_under_its_owner(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    clock.advance(5)
    run = claim(store, "a")
    assert (run.state, run.owner, run.claims, run.started_s) == (RunState.RUNNING, "a", 1, clock.now_s)
    assert run == store.get("one")


def test_eight_threads_claim_fifty_runs_each_exactly_once(open_store: Callable[[], SqlRunStore]) -> None:
    stores, barrier = [open_store() for _ in range(4)], threading.Barrier(8, timeout=30)
    add(stores[0], *(f"run-{number}" for number in range(50)))

    def work(number: int) -> list[str]:
        barrier.wait()
        claimed = []
        while (run := stores[number % 4].claim(f"owner-{number}", 60, 3)) is not None:
            claimed.append(run.id)
        return claimed

    with ThreadPoolExecutor(8) as pool:
        counts = Counter(run_id for claimed in pool.map(work, range(8)) for run_id in claimed)
    assert counts == Counter(f"run-{number}" for number in range(50))


def test_a_run_whose_lease_expired_is_claimed_before_the_queue(store: RunStore, clock: Clock) -> None:
    add(store, "one", "two")
    started_s = claim(store, "a").started_s
    clock.advance(11)
    run = claim(store, "b")
    assert (run.id, run.owner, run.claims, run.started_s) == ("one", "b", 2, started_s)


def test_eight_threads_share_one_expired_lease_among_one(open_store: Callable[[], SqlRunStore], clock: Clock) -> None:
    stores, barrier = [open_store() for _ in range(4)], threading.Barrier(8, timeout=30)
    add(stores[0], "one")
    claim(stores[0], "dead")
    clock.advance(11)

    def work(number: int) -> bool:
        barrier.wait()
        return stores[number % 4].claim(f"owner-{number}", 60, 3) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 1


# --- abandoned


def test_a_run_that_its_runners_keep_dying_over_fails_as_abandoned(store: RunStore, clock: Clock) -> None:
    add(store, "one", "two")
    for owner in ("a", "b", "c"):
        assert claim(store, owner).id == "one"
        clock.advance(11)
    assert claim(store, "d").id == "two"
    run = store.get("one")
    assert (run.state, run.claims, run.owner) == (RunState.FAILED, 3, None)
    assert run.error is not None
    assert run.error["code"] == "abandoned"
    assert "3 runners" in run.error["detail"]
    assert [(event.kind, event.data["error"]["code"]) for event in store.events("one")] == [("failed", "abandoned")]


def test_a_new_result_starts_the_count_of_lost_runners_again(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    lose(store, clock, 2)
    claim(store, "a")
    store.remember("one", 1, "draft", {})
    clock.advance(11)
    lose(store, clock, 2)
    assert claim(store, "b").claims == 6


def test_an_old_result_is_no_progress(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    for owner in ("a", "b", "c", "d"):
        claim(store, owner)
        store.remember("one", 1, "draft", {})
        clock.advance(11)
    assert store.claim("e", 10, 3) is None
    assert store.get("one").state is RunState.FAILED


def test_events_alone_are_no_progress(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    for owner in ("a", "b", "c"):
        claim(store, owner)
        store.append("one", "step.progress", {"done": 1})
        clock.advance(11)
    assert store.claim("d", 10, 3) is None


def test_many_abandoned_runs_do_not_hide_a_good_one(store: RunStore, clock: Clock) -> None:
    bad = [f"bad-{number}" for number in range(5)]
    add(store, *bad)
    for run_id in bad:
        assert claim(store, "a", max_claims=1).id == run_id
    add(store, "good")
    clock.advance(11)
    assert claim(store, "b", max_claims=1).id == "good"
    assert store.counts()[RunState.FAILED] == 5


# --- beat


def test_a_beat_prolongs_the_lease(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    claim(store, "a")
    for _ in range(5):
        clock.advance(9)
        assert store.beat("one", "a", 10) is Beat.HELD
    assert store.claim("b", 10, 3) is None


def test_a_beat_that_comes_late_keeps_a_lease_that_nobody_took(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    claim(store, "a")
    clock.advance(60)
    assert store.beat("one", "a", 10) is Beat.HELD
    assert store.claim("b", 10, 3) is None


def test_whoever_slept_through_a_lease_learns_that_it_is_lost(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    claim(store, "a")
    clock.advance(11)
    claim(store, "b")
    assert store.beat("one", "a", 10) is Beat.LOST
    assert store.beat("one", "b", 10) is Beat.HELD


def test_a_beat_tells_of_a_cancel_and_still_holds_the_lease(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    claim(store, "a")
    store.cancel("one")
    assert store.beat("one", "a", 10) is Beat.CANCEL
    clock.advance(9)
    assert store.finish("one", "a", RunState.CANCELLED, None, None)


def test_a_beat_after_the_end_is_lost(store: RunStore) -> None:
    add(store, "one")
    claim(store, "a")
    store.finish("one", "a", RunState.SUCCEEDED, {}, None)
    assert store.beat("one", "a", 10) is Beat.LOST


# --- release


def test_a_released_run_is_claimed_again_at_once_at_its_old_place(store: RunStore) -> None:
    add(store, "one", "two")
    claim(store, "a")
    assert store.release("one", "a")
    run = store.get("one")
    assert (run.state, run.owner) == (RunState.QUEUED, None)
    assert claim(store, "b").id == "one"


def test_shutdowns_do_not_count_as_lost_runners(store: RunStore) -> None:
    add(store, "one")
    for number in range(10):
        claim(store, f"a{number}")
        store.release("one", f"a{number}")
    assert claim(store, "b").claims == 11


def test_faults_count_as_lost_runners(store: RunStore) -> None:
    add(store, "one")
    for owner in ("a", "b", "c"):
        claim(store, owner)
        store.release("one", owner, is_fault=True)
    assert store.claim("d", 10, 3) is None
    assert store.get("one").state is RunState.FAILED


def test_only_the_owner_can_release(store: RunStore) -> None:
    add(store, "one")
    claim(store, "a")
    assert not store.release("one", "b")
    assert store.get("one").owner == "a"


def test_a_cancelled_run_that_is_released_ends_as_cancelled(store: RunStore) -> None:
    add(store, "one")
    claim(store, "a")
    store.cancel("one")
    assert store.release("one", "a")
    assert store.get("one").state is RunState.CANCELLED
    assert [event.kind for event in store.events("one")] == ["cancelled"]


def test_a_cancelled_run_whose_runner_dies_ends_as_cancelled_at_the_next_claim(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    claim(store, "a")
    store.cancel("one")
    clock.advance(11)
    assert store.claim("b", 10, 3) is None
    assert store.get("one").state is RunState.CANCELLED


# --- finish


@pytest.mark.parametrize("state", [state for state in RunState if state.is_final])
def test_a_finished_run_has_its_state_report_error_and_last_event(
    store: RunStore, clock: Clock, state: RunState
) -> None:
    add(store, "one")
    claim(store, "a")
    store.append("one", "step", {})
    clock.advance(3)
    assert store.finish("one", "a", state, {"points": 61.5}, {"code": "x"})
    run = store.get("one")
    assert (run.state, run.finished_s, run.owner) == (state, clock.now_s, None)
    assert (run.report, run.error) == ({"points": 61.5}, {"code": "x"})
    last = store.events("one")[-1]
    assert (last.seq, last.kind, last.data) == (2, state.value, {"error": {"code": "x"}})
    assert run.last_seq == 2


def test_whoever_lost_the_lease_cannot_finish_the_run(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    claim(store, "a")
    clock.advance(11)
    claim(store, "b")
    assert not store.finish("one", "a", RunState.SUCCEEDED, {"by": "a"}, None)
    assert store.finish("one", "b", RunState.SUCCEEDED, {"by": "b"}, None)
    assert not store.finish("one", "b", RunState.FAILED, None, None)
    assert store.get("one").report == {"by": "b"}
    assert len(store.events("one")) == 1


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING])
def test_a_run_cannot_finish_in_a_state_that_is_not_final(store: RunStore, state: RunState) -> None:
    add(store, "one")
    claim(store, "a")
    with pytest.raises(ValueError, match="not a final state"):
        store.finish("one", "a", state, None, None)


def test_a_report_that_json_cannot_say_changes_nothing(store: RunStore) -> None:
    add(store, "one")
    claim(store, "a")
    with pytest.raises(ValueError, match="JSON"):
        store.finish("one", "a", RunState.SUCCEEDED, {"points": float("nan")}, None)
    assert store.get("one").state is RunState.RUNNING
    assert store.events("one") == []
