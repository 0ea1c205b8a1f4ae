"""What every sweep store does, on a SQLite file and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from serve_app.core.errors import Conflict, InvalidInput, Unknown
from serve_app.runs.model import RunRequest, RunState
from serve_app.runs.sql import SqlRunStore
from serve_app.runs.sweep_model import CellRequest, CellResult, SweepRequest, SweepState
from serve_app.runs.tables import VERSION
from tests.runs.conftest import Clock
from tests.runs.test_store import ask, finish

RESULT = CellResult(RunState.SUCCEEDED, 88.5, "pass", True, 1.5, 0.001, "fidelity", "animatic", None)


def sweep(sweep_id: str, cells: int = 2, concurrency: int = 1) -> SweepRequest:
    """Return a sweep of ``cells`` runs called `<id>-<position>`."""
    asked = [RunRequest(f"{sweep_id}-{i}", "demo", {"seed": i}, {"attempts": 1}, "caller") for i in range(cells)]
    requests = tuple(CellRequest(run, {"seed": run.inputs["seed"]}, "judge") for run in asked)
    over = {"seed": list(range(cells))}
    return SweepRequest(sweep_id, {"pipelines": ["demo"], "over": over, "concurrency": concurrency}, requests)


def test_a_recorded_sweep_is_there_with_its_cells_and_another_process_sees_them(
    open_store: Callable[[], SqlRunStore],
) -> None:
    recorded, is_new = open_store().sweeps.add(sweep("one"))
    assert is_new
    assert (recorded.size, recorded.state) == (2, SweepState.RUNNING)
    other = open_store().sweeps
    assert other.get("one") == recorded
    assert [(cell.run_id, cell.axes, cell.state) for cell in other.cells("one")] == [
        ("one-0", {"seed": 0}, None),
        ("one-1", {"seed": 1}, None),
    ]


def test_the_same_again_is_the_same_sweep_and_another_under_its_id_a_conflict(store: SqlRunStore) -> None:
    first, _ = store.sweeps.add(sweep("one"))
    assert store.sweeps.add(sweep("one")) == (first, False)
    with pytest.raises(Conflict):
        store.sweeps.add(sweep("one", cells=3))


def test_threads_that_ask_for_the_same_sweep_record_it_once(open_store: Callable[[], SqlRunStore]) -> None:
    stores = [open_store() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda store: store.sweeps.add(sweep("one"))[1], stores)) == 1


def test_a_cell_has_its_runs_state(store: SqlRunStore) -> None:
    store.sweeps.add(sweep("one"))
    store.add(store.sweeps.run_of("one", 0), max_queued=9)
    assert [cell.state for cell in store.sweeps.cells("one")] == [RunState.QUEUED, None]
    finish(store, "one-0")
    assert [cell.state for cell in store.sweeps.cells("one")] == [RunState.SUCCEEDED, None]
    assert store.get("one-0").seed_origin == "caller"


def test_a_result_is_kept_and_the_first_one_stays(store: SqlRunStore) -> None:
    store.sweeps.add(sweep("one"))
    store.sweeps.record("one", 1, RESULT)
    store.sweeps.record("one", 1, CellResult(RunState.FAILED, None, None, False, 0.0, None, None, None, "busy"))
    assert [cell.result for cell in store.sweeps.cells("one")] == [None, RESULT]


def test_only_what_has_not_ended_is_unended_and_an_end_is_final(store: SqlRunStore, clock: Clock) -> None:
    for name in ("one", "two"):
        store.sweeps.add(sweep(name))
    clock.advance(5)
    store.sweeps.finish("one", SweepState.FINISHED)
    store.sweeps.finish("one", SweepState.CANCELLED)
    assert [each.id for each in store.sweeps.unended()] == ["two"]
    ended = store.sweeps.get("one")
    assert (ended.state, ended.finished_s) == (SweepState.FINISHED, clock.now_s)


def test_a_cancel_is_remembered_and_changes_nothing_that_has_ended(store: SqlRunStore) -> None:
    for name in ("one", "two"):
        store.sweeps.add(sweep(name))
    store.sweeps.finish("two", SweepState.FINISHED)
    assert store.sweeps.cancel("one").is_cancel_requested
    assert not store.sweeps.cancel("two").is_cancel_requested


def test_sweeps_are_listed_newest_first_page_by_page(store: SqlRunStore) -> None:
    for name in ("one", "two", "three"):
        store.sweeps.add(sweep(name))
    first = store.sweeps.list(2)
    assert [each.id for each in first.sweeps] == ["three", "two"]
    second = store.sweeps.list(2, first.next_cursor)
    assert ([each.id for each in second.sweeps], second.next_cursor) == (["one"], None)


@pytest.mark.parametrize(("limit", "cursor", "field"), [(0, None, "limit"), (501, None, "limit"), (5, "x", "cursor")])
def test_a_bad_page_is_refused_by_its_field(store: SqlRunStore, limit: int, cursor: str | None, field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        store.sweeps.list(limit, cursor)


@pytest.mark.parametrize("sweep_id", ["nobody", "no\x00body", "../x"])
def test_what_is_not_there_is_unknown(store: SqlRunStore, sweep_id: str) -> None:
    for use in (store.sweeps.get, store.sweeps.cells, store.sweeps.cancel):
        with pytest.raises(Unknown, match="sweep"):
            use(sweep_id)


@pytest.mark.parametrize("sweep_id", ["", "a b", "x" * 41])
def test_an_id_that_cannot_be_one_is_refused(store: SqlRunStore, sweep_id: str) -> None:
    with pytest.raises(InvalidInput, match="id"):
        store.sweeps.add(sweep(sweep_id))


def test_a_store_of_the_first_release_is_brought_up_with_what_it_had(url: str) -> None:
    old = SqlRunStore(url)
    run, _ = old.add(ask("one"), max_queued=9)
    old.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in (
            "DROP TABLE sweep_cells",
            "DROP TABLE sweeps",
            "ALTER TABLE runs DROP COLUMN seed_origin",
            "UPDATE schema_version SET version = 1",
        ):
            connection.execute(text(statement))
    engine.dispose()
    new = SqlRunStore(url)
    assert new.get("one") == run
    assert new.sweeps.add(sweep("two"))[1]
    new.close()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version FROM schema_version")).scalar_one() == VERSION
    engine.dispose()
