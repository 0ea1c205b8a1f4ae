"""The run policy with money: budgets to the step, what a rejection for good ends, and what is kept when all fail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve_app.core.errors import Rejected, Unavailable
from serve_app.graph.callers import Call, Caller
from serve_app.graph.record import Called, Resources
from serve_app.runs.attempt import derived_seed
from serve_app.runs.ledger import Prices
from serve_app.runs.model import RunState
from tests.graph.stages import Counting, in_process
from tests.runs.house import BRIGHT, DARK, House

DOLLAR_A_SECOND = Prices(usd_per_cpu_s=1.0)
SLACK_USD = 0.25
"""A frame, and how late a loaded machine may be."""
DARK_THEN_BLACK = 30
"""A seed whose clip fails, and whose second attempt is black: no clip at all."""


class Renting:
    """A caller whose stages say that they hold a share of an accelerator."""

    def __init__(self, inner: Caller, accelerator: str) -> None:
        self._inner, self._held = inner, Resources(1.0, 1.0, accelerator)

    async def call(self, call: Call) -> Called:
        call.on_start(self._held)
        return await self._inner.call(call)

    async def prepare(self, call: Call) -> None:
        await self._inner.prepare(call)


def test_a_budget_in_usd_stops_a_step_when_the_money_is_gone(tmp_path: Path) -> None:
    house = House(tmp_path, prices=DOLLAR_A_SECOND)
    run_id = house.submit(BRIGHT, {"budget_usd": 0.5}, frames=100, pause_s=0.05)
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error["detail"] == "budget_usd of 0.5 is spent"
    assert 0.45 <= report["cost"]["usd"] <= 0.5 + SLACK_USD
    assert [(step["node"], step["ended"]) for step in report["attempts"][0]["steps"]] == [("draft", "cancelled")]


def test_a_budget_in_usd_is_that_of_all_attempts(tmp_path: Path) -> None:
    house = House(tmp_path, prices=DOLLAR_A_SECOND)
    run_id = house.submit(
        DARK, {"vary": "nothing", "attempts": 20, "budget_usd": 1.0, "keep": "none"}, frames=4, pause_s=0.1
    )
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    assert 2 <= len(report["attempts"]) <= 3
    assert report["cost"]["usd"] <= 1.0 + SLACK_USD
    spent = next(event for event in house.store.events(run_id) if event.kind == "budget.spent")
    assert spent.data["budget_usd"] == 1.0


def test_what_others_charge_is_part_of_the_budget_while_the_step_still_works(tmp_path: Path) -> None:
    house = House(tmp_path, prices=DOLLAR_A_SECOND)
    run_id = house.submit(BRIGHT, {"budget_usd": 5.0}, frames=100, pause_s=0.05, usd=6.0)
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.FAILED
    assert report["attempts"][0]["seconds"] < 2.0
    assert 6.0 <= report["cost"]["usd"] < 7.0
    (step,) = report["attempts"][0]["steps"]
    assert step["charges"] == [{"usd": 6.0, "what": "a picture from elsewhere"}]


def test_what_a_lost_runner_spent_counts_towards_the_budget(tmp_path: Path) -> None:
    def lose(node: str, count: int) -> None:
        if node == "judge":
            raise Unavailable(node, "its replica died")

    first = House(tmp_path, Counting(in_process(tmp_path), lose), prices=DOLLAR_A_SECOND)
    run_id = first.submit(BRIGHT, {"budget_usd": 1.0}, frames=6, pause_s=0.1)
    first.work()
    successor = House(tmp_path, prices=DOLLAR_A_SECOND)
    successor.work()
    run, report = successor.ended(run_id)
    assert run.state is RunState.FAILED
    assert 1.0 <= report["cost"]["usd"] <= 1.0 + SLACK_USD


def test_a_budget_that_cannot_be_kept_ends_the_run_before_the_step_and_names_what_has_no_price(tmp_path: Path) -> None:
    house = House(tmp_path, Renting(in_process(tmp_path), "Abacus"))
    run_id = house.submit(BRIGHT, {"budget_usd": 1.0}, frames=100, pause_s=0.05)
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert (run.error["code"], run.error["field"]) == ("invalid_input", "policy.budget_usd")
    assert "'Abacus'" in run.error["detail"]
    assert report["attempts"][0]["seconds"] < 2.0


def test_without_a_budget_in_usd_what_has_no_price_ends_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, Renting(in_process(tmp_path), "Abacus"))
    run_id = house.submit(BRIGHT)
    house.work()
    assert house.ended(run_id)[0].state is RunState.SUCCEEDED


def test_a_rejection_that_no_seed_can_help_ends_the_run_at_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(0, {"attempts": 5})
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    assert [attempt["verdict"] for attempt in report["attempts"]] == ["reject"]
    assert report["verdict"]["word"] == "reject"
    assert run.error is not None
    assert "no other seed can help" in run.error["detail"]


def test_a_rejection_for_good_ends_the_run_also_after_a_failure(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(DARK_THEN_BLACK, {"attempts": 5})
    house.work()
    _, report = house.ended(run_id)
    assert [attempt["verdict"] for attempt in report["attempts"]] == ["fail", "reject"]
    assert report["attempts"][1]["seed"] == derived_seed(DARK_THEN_BLACK, 2)


def test_what_is_no_clip_is_never_kept_as_the_best(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(0, {"attempts": 2, "keep": "best"})
    house.work()
    _, report = house.ended(run_id)
    assert (report["outputs"], report["delivered_attempt"]) == ({}, None)
    assert report["undelivered"] == "no attempt made a clip that could be kept"
    assert report["evidence"].keys() == {"sheet"}


def test_the_best_is_kept_of_the_attempts_that_made_a_clip(tmp_path: Path) -> None:
    house = House(tmp_path)
    run_id = house.submit(DARK_THEN_BLACK, {"attempts": 5, "keep": "best"})
    house.work()
    _, report = house.ended(run_id)
    assert report["delivered_attempt"] == 1
    assert set(report["outputs"]) == {"file", "sheet"}


class Slow:
    """A caller that takes ``seconds`` over one node's call, at work."""

    def __init__(self, inner: Caller, node: str, seconds: float) -> None:
        self._inner, self._node, self._seconds = inner, node, seconds

    async def call(self, call: Call) -> Called:
        if call.step.node == self._node:
            call.on_start(Resources())
            await asyncio.sleep(self._seconds)
        return await self._inner.call(call)

    async def prepare(self, call: Call) -> None:
        await self._inner.prepare(call)


@pytest.mark.parametrize("budget", [{"budget_usd": 1.0}, {"budget_s": 1.0}])
def test_finishing_the_best_attempt_counts_against_the_budget_and_is_given_up_with_the_reason(
    tmp_path: Path, budget: dict[str, float]
) -> None:
    house = House(tmp_path, Slow(in_process(tmp_path), "file", 30.0), prices=DOLLAR_A_SECOND)
    run_id = house.submit(DARK, {"attempts": 1, "keep": "best", **budget})
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.REJECTED
    assert (report["outputs"], report["delivered_attempt"]) == ({}, None)
    (name, limit), *_ = budget.items()
    assert report["undelivered"] == f"the best attempt, number 1, was not finished: {name} of {limit:g} is spent"
    assert {"node": None, "message": report["undelivered"]} in report["warnings"]
    assert report["evidence"].keys() == {"sheet"}, "the evidence is there all the same"
    cut = [step for step in report["attempts"][0]["steps"] if step["node"] == "file"]
    assert [step["ended"] for step in cut] == ["cancelled"]
    assert report["cost"]["usd"] <= 1.0 + SLACK_USD
    assert "budget.spent" in house.kinds(run_id)


def test_a_budget_that_the_attempts_used_up_leaves_nothing_to_finish_the_best_with(tmp_path: Path) -> None:
    house = House(tmp_path, prices=DOLLAR_A_SECOND)
    policy = {"vary": "nothing", "attempts": 20, "budget_usd": 0.8, "keep": "best"}
    run_id = house.submit(DARK, policy, frames=4, pause_s=0.1)
    house.work()
    _, report = house.ended(run_id)
    assert report["delivered_attempt"] is None
    assert "best.kept" not in house.kinds(run_id)
    assert report["cost"]["usd"] <= 0.8 + SLACK_USD


def test_targets_that_are_missed_are_warnings_and_end_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, prices=DOLLAR_A_SECOND)
    policy = {"attempts": 1, "max_cost_usd": 0.1, "max_seconds": 0.2}
    run_id = house.submit(BRIGHT, policy, frames=4, pause_s=0.1)
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    said = [warning["message"] for warning in report["warnings"] if warning["node"] is None]
    assert [message.split(":")[0] for message in said] == ["target missed", "target missed"]


def test_a_run_that_loses_every_runner_is_still_abandoned_though_its_lost_steps_are_recorded(tmp_path: Path) -> None:
    class Hanging:
        async def call(self, call: Call) -> Called:
            call.on_start(Resources())
            raise Unavailable("draft", "its replica died")

        async def prepare(self, call: Call) -> None: ...

    house = House(tmp_path, Hanging())
    run_id = house.submit(BRIGHT)
    for _ in range(3):
        house.work()
    run = house.store.get(run_id)
    assert run.error is not None
    assert run.error["code"] == "abandoned"


class GivingUp:
    """A caller whose generator says part-way that its attempt is hopeless."""

    def __init__(self, inner: Caller, times: int) -> None:
        self._inner, self._left = inner, times

    async def call(self, call: Call) -> Called:
        if call.step.node == "draft" and self._left:
            self._left -= 1
            call.on_start(Resources())
            await asyncio.sleep(0.1)
            raise Rejected("latent", None, 0.0, "it has collapsed")
        return await self._inner.call(call)

    async def prepare(self, call: Call) -> None: ...


def test_an_attempt_that_its_generator_gave_up_costs_what_it_took_and_the_next_seed_is_tried(tmp_path: Path) -> None:
    house = House(tmp_path, GivingUp(in_process(tmp_path), times=1), prices=DOLLAR_A_SECOND)
    run_id = house.submit(1, {"attempts": 2})  # its second attempt is bright
    house.work()
    run, report = house.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    first = report["attempts"][0]
    assert (first["verdict"], first["rejection"]["detector"]) == ("fail", "latent")
    assert 0.1 <= first["cost"]["usd"] < 0.1 + SLACK_USD


def test_an_attempt_that_was_given_up_is_never_kept_as_the_best(tmp_path: Path) -> None:
    house = House(tmp_path, GivingUp(in_process(tmp_path), times=2))
    run_id = house.submit(1, {"attempts": 2, "keep": "best"})
    house.work()
    _, report = house.ended(run_id)
    assert report["delivered_attempt"] is None
    assert report["undelivered"] == "no attempt made a clip that could be kept"
