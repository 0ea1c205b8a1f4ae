"""Sweeps worked through by a real queue: bounded, resumed after a crash, cancelled, and read at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve_app.core.errors import Unavailable
from serve_app.runs.model import RunRequest, RunState
from serve_app.runs.sweep import SweepSpec
from serve_app.runs.sweep_model import Cell, CellRequest, SweepRequest, SweepState
from serve_app.runs.sweep_table import tables_of
from serve_app.runs.sweeper import Sweeper
from tests.runs.house import House


class Sweeping(House):
    """A house with a sweeper, and a sweep of seeds in it."""

    def __init__(self, root: Path, max_queued: int = 10) -> None:
        super().__init__(root)
        self.sweeper = Sweeper(self.store, max_queued)

    def sweep(self, *seeds: int, concurrency: int = 2) -> None:
        """Record a sweep over ``seeds`` as the service would."""
        policy = {**self.plan.policy.model_dump(), "attempts": 1, "keep": "best"}
        inputs = [dict(self.plan.bind({"seed": seed}).inputs) for seed in seeds]
        runs = [RunRequest(f"s-{each['seed']}", self.plan.name, each, policy) for each in inputs]
        cells = tuple(CellRequest(run, {"seed": run.inputs["seed"]}, "judge") for run in runs)
        spec = {"pipelines": [self.plan.name], "over": {"seed": list(seeds)}, "concurrency": concurrency}
        self.store.sweeps.add(SweepRequest("s", spec, cells))

    def cells(self) -> list[Cell]:
        return self.store.sweeps.cells("s")

    def states(self) -> list[RunState | None]:
        return [cell.state for cell in self.cells()]

    @property
    def state(self) -> SweepState:
        return self.store.sweeps.get("s").state


@pytest.fixture
def house(tmp_path: Path) -> Sweeping:
    return Sweeping(tmp_path)


def test_no_more_cells_are_submitted_than_the_bound(house: Sweeping) -> None:
    house.sweep(1, 2, 3, 4, concurrency=2)
    for _ in range(3):
        house.sweeper.look()
    assert house.states() == [RunState.QUEUED, RunState.QUEUED, None, None]
    house.work()
    house.sweeper.look()
    assert house.states()[2:] == [RunState.QUEUED, None]


def test_a_sweep_ends_with_every_cells_result(house: Sweeping) -> None:
    house.sweep(10, 200, 255)
    for _ in range(4):
        house.sweeper.look()
        house.work()
    for _ in range(2):  # the first reads the last result, the second finds nothing left
        house.sweeper.look()
    assert house.state is SweepState.FINISHED
    results = [cell.result for cell in house.cells()]
    assert [(result.state, round(result.points or 0)) for result in results if result] == [
        (RunState.REJECTED, 4),
        (RunState.SUCCEEDED, 78),
        (RunState.SUCCEEDED, 100),
    ]
    assert results[1] is not None
    assert (results[1].judge, results[1].model, results[1].is_accepted) == ("brightness", "flat", True)
    spec = SweepSpec.model_validate(house.store.sweeps.get("s").spec, strict=False)
    (table,) = tables_of(spec, house.cells())
    assert (table.ranking.best, table.ranking.winner) == ("255", None)


def test_another_process_goes_on_where_one_died(tmp_path: Path) -> None:
    first = Sweeping(tmp_path)
    first.sweep(100, 150, 200)
    first.sweeper.look()
    first.work()
    first.store.close()
    second = Sweeping(tmp_path)
    for _ in range(6):
        second.sweeper.look()
        second.work()
    assert second.state is SweepState.FINISHED
    assert second.caller.calls["draft"] == 2, "the cell that was done is not done again"


def test_two_sweepers_at_once_do_not_exceed_the_bound(house: Sweeping) -> None:
    house.sweep(*range(1, 9), concurrency=3)
    other = Sweeper(house.store, 10)

    async def look() -> None:
        await asyncio.gather(*(asyncio.to_thread(each.look) for each in (house.sweeper, other) * 5))

    asyncio.run(look())
    assert house.states() == [RunState.QUEUED] * 3 + [None] * 5


def test_a_full_queue_makes_cells_wait_and_breaks_nothing(tmp_path: Path) -> None:
    house = Sweeping(tmp_path, max_queued=1)
    house.sweep(1, 2, 3, concurrency=3)
    house.sweeper.look()
    assert house.states() == [RunState.QUEUED, None, None]
    house.work()
    house.sweeper.look()
    assert house.states()[1:] == [RunState.QUEUED, None]


def test_a_sweep_that_cannot_be_worked_on_ends_and_the_others_go_on(house: Sweeping) -> None:
    cell = CellRequest(RunRequest("bad-1", house.plan.name, {}, {}), {"seed": 1}, "judge")
    house.store.sweeps.add(SweepRequest("bad", {"pipelines": [house.plan.name]}, (cell,)))
    house.sweep(1, 2)
    house.sweeper.look()
    assert house.store.sweeps.get("bad").state is SweepState.CANCELLED
    assert house.states() == [RunState.QUEUED, RunState.QUEUED]


def test_a_store_that_is_away_ends_no_sweep(house: Sweeping, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> list[Cell]:
        raise Unavailable("the run store", "restarted")

    house.sweep(1)
    with monkeypatch.context() as patch:
        patch.setattr(house.store.sweeps, "cells", away)
        with pytest.raises(Unavailable):
            house.sweeper.look()
    assert house.state is SweepState.RUNNING


def test_a_cancelled_sweep_cancels_its_runs_submits_no_more_and_keeps_what_ended(house: Sweeping) -> None:
    house.sweep(200, 210, 220)
    house.sweeper.look()
    house.work()
    house.store.sweeps.cancel("s")
    for _ in range(3):
        house.sweeper.look()
    assert house.state is SweepState.CANCELLED
    assert house.states() == [RunState.SUCCEEDED, RunState.CANCELLED, None]
    first = house.cells()[0].result
    assert first is not None
    assert first.points is not None
    assert house.store.sweeps.unended() == []
