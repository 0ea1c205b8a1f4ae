"""Events in the order in which they were said, on a real SQLite file, whatever becomes of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.core.errors import Conflict, Rejected, Unavailable
from serve_app.graph.plan import Step
from serve_app.runs.model import RunRequest, RunState
from serve_app.runs.scribe import Scribe, rejection_json
from serve_app.runs.sql import SqlRunStore
from tests.graph.stages import bright

STEP: Step = bright().steps[0]


class Absent(SqlRunStore):
    """A store that cannot be reached the first ``times`` an event is recorded."""

    def __init__(self, url: str, times: int) -> None:
        super().__init__(url)
        self.times = times

    def append(self, run_id: str, kind: str, data: dict[str, object]) -> int:
        self.times -= 1
        if self.times >= 0:
            raise Unavailable("the run store", "no route to host")
        return super().append(run_id, kind, data)


@pytest.fixture
def store(tmp_path: Path) -> SqlRunStore:
    store = Absent(f"sqlite:///{tmp_path / 'runs.db'}", 0)
    store.add(RunRequest("run", "bright", {}, {}), 10)
    return store


def write(store: SqlRunStore, words: Callable[[Scribe], None]) -> list[tuple[str, dict[str, object]]]:
    """Have a scribe say something, and return what is in the store."""

    async def work() -> None:
        async with Scribe(store, "run") as scribe:
            words(scribe)

    asyncio.run(work())
    return [(event.kind, event.data) for event in store.events("run")]


def count(to: int) -> Callable[[Scribe], None]:
    def words(scribe: Scribe) -> None:
        for n in range(to):
            scribe.say("word", {"n": n})

    return words


def test_leaving_waits_for_the_last_word(store: SqlRunStore) -> None:
    said = write(store, count(50))
    assert said == [("word", {"attempt": 0, "n": n}) for n in range(50)]


def test_flush_returns_when_everything_is_recorded(store: SqlRunStore) -> None:
    async def work() -> int:
        async with Scribe(store, "run") as scribe:
            for n in range(20):
                scribe.say("word", {"n": n})
            await scribe.flush()
            return len(store.events("run"))

    assert asyncio.run(work()) == 20


def test_a_word_belongs_to_the_attempt_at_hand(store: SqlRunStore) -> None:
    def words(scribe: Scribe) -> None:
        for scribe.attempt in (1, 2):
            scribe.say("word", {})

    assert [data["attempt"] for _, data in write(store, words)] == [1, 2]


def test_what_is_said_while_the_store_is_away_is_recorded_in_order_when_it_is_back(tmp_path: Path) -> None:
    store = Absent(f"sqlite:///{tmp_path / 'runs.db'}", 2)
    store.add(RunRequest("run", "bright", {}, {}), 10)
    said = write(store, count(3))
    assert [data["n"] for _, data in said] == [0, 1, 2]


def test_that_the_run_has_ended_elsewhere_is_raised_by_flush_and_nothing_follows_its_last_event(
    store: SqlRunStore,
) -> None:
    async def work() -> None:
        async with Scribe(store, "run") as scribe:
            scribe.say("word", {})
            await scribe.flush()
            store.cancel("run")
            scribe.say("word", {})
            with pytest.raises(Conflict):
                await scribe.flush()
            raise KeyError("the walk's own error")

    with pytest.raises(KeyError):  # it is not hidden by the scribe's
        asyncio.run(work())
    assert [event.kind for event in store.events("run")] == ["word", RunState.CANCELLED]


def test_that_the_run_has_ended_elsewhere_is_raised_on_leaving(store: SqlRunStore) -> None:
    store.cancel("run")
    with pytest.raises(Conflict):
        write(store, lambda scribe: scribe.say("word", {}))


def test_a_scribe_that_waits_for_a_store_lets_itself_be_cancelled(tmp_path: Path) -> None:
    store = Absent(f"sqlite:///{tmp_path / 'runs.db'}", 10_000)
    store.add(RunRequest("run", "bright", {}, {}), 10)

    async def work() -> None:
        async with Scribe(store, "run") as scribe:
            scribe.say("word", {})

    async def cancel() -> set[asyncio.Task[None]]:
        working = asyncio.create_task(work())
        await asyncio.sleep(0.1)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        await asyncio.sleep(0)
        return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    assert asyncio.run(cancel()) == set()


def test_progress_is_thinned_out_but_for_the_first_and_the_last_of_every_attempt(store: SqlRunStore) -> None:
    def words(scribe: Scribe) -> None:
        for scribe.attempt in (1, 2):
            scribe.step_started(STEP)
            for done in range(1, 101):
                scribe.step_progressed(STEP, done, 100)

    said = [(data["attempt"], data["done"]) for kind, data in write(store, words) if kind == "step.progress"]
    assert said == [(1, 1), (1, 100), (2, 1), (2, 100)]


def test_a_rejection_says_who_where_and_why(store: SqlRunStore) -> None:
    ((kind, data),) = write(store, lambda scribe: scribe.step_rejected(STEP, Rejected("dark", 3, 0.5, "too dark")))
    facts = {"detector": "dark", "frame": 3, "value": 0.5, "reason": "too dark", "is_final": False}
    assert (kind, data) == ("step.rejected", {"attempt": 0, "node": STEP.node, **facts})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_json_cannot_say_is_left_out(value: float) -> None:
    assert rejection_json(Rejected("whole", None, value, "not finite"))["value"] is None
