"""What every run store does, on a SQLite file and on PostgreSQL: recording, finding, listing, cancelling, events."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serve_app.core.errors import Busy, Conflict, InvalidInput, Unknown
from serve_app.runs.model import Page, RunRequest, RunState
from serve_app.runs.sql import SqlRunStore
from serve_app.runs.store import RunStore
from tests.runs.conftest import Clock


def ask(run_id: str, **changes: Any) -> RunRequest:
    fields = {"pipeline": "demo", "inputs": {"prompt": "a red kite"}, "policy": {"attempts": 3}}
    return RunRequest(id=run_id, **{**fields, **changes})


def add(store: RunStore, *run_ids: str, **changes: Any) -> None:
    for run_id in run_ids:
        store.add(ask(run_id, **changes), max_queued=1000)


def finish(store: RunStore, run_id: str, state: RunState = RunState.SUCCEEDED) -> None:
    run = store.claim(f"for-{run_id}", 10, 3)
    assert run is not None
    assert run.id == run_id
    assert store.finish(run_id, f"for-{run_id}", state, {"verdict": "pass"}, None)


def ids(page: Page) -> list[str]:
    return [run.id for run in page.runs]


# --- add


def test_a_recorded_run_is_queued_and_another_process_sees_it(open_store: Callable[[], SqlRunStore]) -> None:
    run, is_new = open_store().add(ask("one"), max_queued=10)
    assert is_new
    assert run.state is RunState.QUEUED
    assert open_store().get("one") == run


def test_the_same_request_again_is_the_same_run(store: RunStore) -> None:
    first, _ = store.add(ask("one"), max_queued=10)
    assert store.add(ask("one"), max_queued=10) == (first, False)


def test_another_request_under_the_same_id_is_a_conflict(store: RunStore) -> None:
    add(store, "one")
    with pytest.raises(Conflict):
        store.add(ask("one", inputs={"prompt": "a blue kite"}), max_queued=10)
    assert store.get("one").inputs == {"prompt": "a red kite"}


def test_a_full_queue_refuses_and_says_when_to_come_back(store: RunStore) -> None:
    add(store, "one", "two")
    with pytest.raises(Busy) as caught:
        store.add(ask("three"), max_queued=2)
    assert (caught.value.queued, caught.value.limit, caught.value.retry_after_s) == (2, 2, 60)


def test_a_full_queue_still_answers_for_the_runs_in_it(store: RunStore) -> None:
    add(store, "one", "two")
    assert store.add(ask("two"), max_queued=2)[1] is False


def test_a_running_run_takes_no_place_in_the_queue(store: RunStore) -> None:
    add(store, "one")
    store.claim("runner", 10, 3)
    assert store.add(ask("two"), max_queued=1)[1] is True


def test_the_time_to_come_back_follows_from_how_fast_runs_end(store: RunStore, clock: Clock) -> None:
    for number in range(30):
        add(store, f"run-{number}")
        finish(store, f"run-{number}")
    with pytest.raises(Busy) as caught:
        store.add(ask("more"), max_queued=0)
    assert caught.value.retry_after_s == 20
    clock.advance(601)
    with pytest.raises(Busy) as caught:
        store.add(ask("more"), max_queued=0)
    assert caught.value.retry_after_s == 60


def test_callers_who_race_for_the_last_places_get_no_more_than_there_are(open_store: Callable[[], SqlRunStore]) -> None:
    stores, barrier = [open_store() for _ in range(4)], threading.Barrier(12, timeout=30)

    def race(number: int) -> bool:
        barrier.wait()
        try:
            return stores[number % 4].add(ask(f"run-{number}"), max_queued=5)[1]
        except Busy:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(race, range(12))) == 5
    assert stores[0].counts()[RunState.QUEUED] == 5


def test_of_callers_who_race_with_one_id_exactly_one_records_it(open_store: Callable[[], SqlRunStore]) -> None:
    stores, barrier = [open_store() for _ in range(4)], threading.Barrier(8, timeout=30)

    def race(number: int) -> bool:
        barrier.wait()
        return stores[number % 4].add(ask("same"), max_queued=100)[1]

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "../etc"}, "id"),
        ({"id": "a" * 65}, "id"),
        ({"pipeline": "a\x00"}, "pipeline"),
        ({"inputs": {"x": math.nan}}, "inputs"),
    ],
)
def test_what_cannot_be_recorded_is_refused_by_name(store: RunStore, changes: dict[str, Any], field: str) -> None:
    fields = {"id": "one", "pipeline": "demo", "inputs": {}, "policy": {}}
    with pytest.raises(InvalidInput) as caught:
        store.add(RunRequest(**{**fields, **changes}), max_queued=10)
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["nul \x00", "lone \ud800", "emoji 🪁", "e\u0301", "'; DROP TABLE runs; --"])
def test_any_text_that_json_can_say_comes_back_unchanged(store: RunStore, text: str) -> None:
    add(store, "one", inputs={"prompt": text, text: [1, 1.5, None, True]})
    assert store.get("one").inputs == {"prompt": text, text: [1, 1.5, None, True]}


def test_times_come_from_the_stores_clock_without_losing_precision(store: RunStore, clock: Clock) -> None:
    clock.now_s = 1_700_000_000.123456
    add(store, "one")
    assert store.get("one").created_s == 1_700_000_000.123456


# --- get, list, counts


@pytest.mark.parametrize("run_id", ["nothing", "a\x00b", "../etc", ""])
def test_an_unknown_run_is_unknown_to_every_method(store: RunStore, run_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get(run_id),
        lambda: store.cancel(run_id),
        lambda: store.append(run_id, "step", {}),
        lambda: store.events(run_id),
        lambda: store.remember(run_id, 1, "draft", {}),
        lambda: store.recall(run_id),
        lambda: store.beat(run_id, "runner", 10),
        lambda: store.release(run_id, "runner"),
        lambda: store.finish(run_id, "runner", RunState.FAILED, None, None),
    ]
    for call in calls:
        with pytest.raises(Unknown) as caught:
            call()
        assert caught.value.field == "run"


def test_pages_go_from_the_newest_to_the_oldest_and_end(store: RunStore) -> None:
    add(store, *(f"run-{number}" for number in range(5)))
    first = store.list(limit=2)
    second = store.list(limit=2, cursor=first.next_cursor)
    third = store.list(limit=2, cursor=second.next_cursor)
    assert [ids(page) for page in (first, second, third)] == [["run-4", "run-3"], ["run-2", "run-1"], ["run-0"]]
    assert third.next_cursor is None


def test_a_full_last_page_has_no_next_one(store: RunStore) -> None:
    add(store, "one", "two")
    assert store.list(limit=2).next_cursor is None


def test_runs_added_between_two_pages_neither_repeat_nor_hide_a_run(store: RunStore) -> None:
    add(store, "one", "two", "three")
    first = store.list(limit=2)
    add(store, "four", "five")
    second = store.list(limit=2, cursor=first.next_cursor)
    assert ids(first) + ids(second) == ["three", "two", "one"]


def test_a_list_may_be_of_one_state_and_of_one_pipeline(store: RunStore) -> None:
    add(store, "one", "two", "three")
    add(store, "four", pipeline="other")
    store.cancel("two")
    assert ids(store.list(limit=10, state=RunState.CANCELLED)) == ["two"]
    assert ids(store.list(limit=10, pipeline="other")) == ["four"]
    assert ids(store.list(limit=10, state=RunState.QUEUED, pipeline="demo")) == ["three", "one"]
    assert ids(store.list(limit=10, state=RunState.QUEUED, pipeline="none")) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"limit": 1, "cursor": "x"}, "cursor"),
        ({"limit": 1, "cursor": ""}, "cursor"),
        ({"limit": 1, "cursor": "-1"}, "cursor"),
        ({"limit": 1, "cursor": "9" * 30}, "cursor"),
        ({"limit": 1, "cursor": "²"}, "cursor"),
        ({"limit": 1, "pipeline": "a\x00"}, "pipeline"),
    ],
)
def test_a_list_that_cannot_be_made_names_the_field(store: RunStore, query: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        store.list(**query)
    assert caught.value.field == field


def test_the_counts_have_every_state(store: RunStore) -> None:
    add(store, "one", "two", "three")
    store.cancel("three")
    store.claim("runner", 10, 3)
    counts = store.counts()
    assert set(counts) == set(RunState)
    assert [counts[state] for state in (RunState.QUEUED, RunState.RUNNING, RunState.CANCELLED)] == [1, 1, 1]
    assert counts[RunState.SUCCEEDED] == 0


# --- cancel


def test_cancelling_a_queued_run_ends_it_at_once_with_its_event(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    run = store.cancel("one")
    assert (run.state, run.finished_s) == (RunState.CANCELLED, clock.now_s)
    assert run.error is not None
    assert run.error["code"] == "cancelled"
    assert [(event.seq, event.kind) for event in store.events("one")] == [(1, "cancelled")]
    assert store.claim("runner", 10, 3) is None


def test_cancelling_a_running_run_leaves_the_end_to_its_runner(store: RunStore) -> None:
    add(store, "one")
    store.claim("runner", 10, 3)
    run = store.cancel("one")
    assert (run.state, run.is_cancel_requested, run.owner) == (RunState.RUNNING, True, "runner")
    assert store.events("one") == []


def test_cancelling_a_run_whose_runner_is_dead_ends_it_at_once(store: RunStore, clock: Clock) -> None:
    add(store, "one")
    store.claim("runner", 10, 3)
    clock.advance(11)
    assert store.cancel("one").state is RunState.CANCELLED


def test_cancelling_twice_or_after_the_end_changes_nothing(store: RunStore) -> None:
    add(store, "one", "two")
    finish(store, "one")
    done = store.get("one")
    assert store.cancel("one") == done
    assert store.cancel("two") == store.cancel("two")
    assert len(store.events("two")) == 1


# --- events


def test_events_are_numbered_from_one_for_every_run(store: RunStore) -> None:
    add(store, "one", "two")
    assert [store.append("one", "step", {"n": n}) for n in range(3)] == [1, 2, 3]
    assert store.append("two", "step", {}) == 1
    assert [(event.run_id, event.data) for event in store.events("one")] == [("one", {"n": n}) for n in range(3)]
    assert store.get("one").last_seq == 3


def test_events_go_on_after_the_last_one_seen(store: RunStore) -> None:
    add(store, "one")
    for _ in range(5):
        store.append("one", "step", {})
    assert [event.seq for event in store.events("one", after=2, limit=2)] == [3, 4]
    assert store.events("one", after=5) == []


def test_the_final_event_stays_the_last(store: RunStore) -> None:
    add(store, "one")
    finish(store, "one")
    with pytest.raises(Conflict, match="succeeded"):
        store.append("one", "step", {})
    assert [event.kind for event in store.events("one")] == ["succeeded"]


def test_writers_of_one_run_leave_no_gap_and_no_number_twice(open_store: Callable[[], SqlRunStore]) -> None:
    stores = [open_store(), open_store()]
    add(stores[0], "one")
    with ThreadPoolExecutor(8) as pool:
        seqs = list(pool.map(lambda n: stores[n % 2].append("one", "step", {"n": n}), range(60)))
    assert sorted(seqs) == list(range(1, 61))
    assert [event.seq for event in stores[0].events("one")] == list(range(1, 61))


# --- remember


def test_what_a_step_gave_is_remembered_by_attempt_and_node(store: RunStore) -> None:
    add(store, "one", "two")
    store.remember("one", 1, "draft", {"digest": "a"})
    store.remember("one", 2, "draft", {"digest": "b"})
    store.remember("two", 1, "draft", {})
    assert store.recall("one") == {(1, "draft"): {"digest": "a"}, (2, "draft"): {"digest": "b"}}
    assert store.recall("two") == {(1, "draft"): {}}


def test_the_first_value_of_a_step_stays(open_store: Callable[[], SqlRunStore]) -> None:
    stores, barrier = [open_store(), open_store()], threading.Barrier(8, timeout=30)
    add(stores[0], "one")

    def remember(number: int) -> None:
        for attempt in range(10):
            barrier.wait()
            stores[number % 2].remember("one", attempt, "draft", {"by": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(remember, range(8)))
    first = stores[0].recall("one")
    stores[1].remember("one", 0, "draft", {"by": "late"})
    assert len(first) == 10
    assert stores[1].recall("one") == first


def test_an_ended_run_remembers_no_more(store: RunStore) -> None:
    add(store, "one")
    finish(store, "one")
    with pytest.raises(Conflict):
        store.remember("one", 1, "draft", {})


# --- heartbeats


def test_the_living_are_those_who_gave_a_heartbeat_lately(store: RunStore, clock: Clock) -> None:
    store.heartbeat("a", "runner")
    store.heartbeat("b", "runner")
    store.heartbeat("c", "ingress")
    clock.advance(10)
    store.heartbeat("a", "runner")
    assert store.alive("runner", within_s=5) == 1
    assert store.alive("runner", within_s=15) == 2
    assert store.alive("ingress", within_s=5) == 0


def test_first_heartbeats_of_one_owner_may_come_at_once(open_store: Callable[[], SqlRunStore]) -> None:
    stores, barrier = [open_store(), open_store()], threading.Barrier(8, timeout=30)

    def beat(number: int) -> None:
        for owner in range(20):
            barrier.wait()
            stores[number % 2].heartbeat(f"owner-{owner}", "runner")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(beat, range(8)))
    assert stores[0].alive("runner", within_s=1) == 20
