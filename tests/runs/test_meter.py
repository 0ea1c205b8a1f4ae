"""The meter: what has been spent, live, and when the work ends."""

from __future__ import annotations

import asyncio
import time

import pytest

from serve_app.core.errors import DeadlineExceeded, GreenlightError, InvalidInput
from serve_app.graph.record import Charge, Resources, StepRecord
from serve_app.graph.spec import RunPolicy
from serve_app.runs.ledger import Prices
from serve_app.runs.meter import Meter, Spent

PRICES = Prices(usd_per_cpu_s=1.0)
CORE = Resources(1.0)


def meter(spent_s: float = 0.0, spent_usd: float | None = 0.0, **policy: float) -> Meter:
    return Meter(RunPolicy(**policy), PRICES, Spent(spent_s, spent_usd))


def ended_by(made: Meter, *began: Resources, charge: Charge | None = None) -> tuple[GreenlightError, float]:
    """Begin calls that never end inside the meter; return what ended the work, and after how many seconds."""

    async def work() -> None:
        for number, held in enumerate(began):
            made.began(f"call {number}", held)
        if charge is not None:
            made.charged("call 0", charge)
        await asyncio.sleep(10)

    started = time.monotonic()
    with pytest.raises(GreenlightError) as caught:
        asyncio.run(made.within(work))
    return caught.value, time.monotonic() - started


def record(seconds: float) -> StepRecord:
    return StepRecord("draft", "flat", "flat", 0.0, seconds, 0.0, CORE, {})


def test_two_steps_side_by_side_spend_twice_as_fast() -> None:
    error, seconds = ended_by(meter(budget_usd=0.4), CORE, CORE)
    assert str(error) == "budget_usd of 0.4 is spent"
    assert 0.19 <= seconds < 0.35


def test_what_was_spent_before_is_gone() -> None:
    _, seconds = ended_by(meter(spent_usd=0.8, budget_usd=1.0), CORE)
    assert 0.19 <= seconds < 0.4


def test_the_budget_that_ends_first_is_the_one_that_is_named() -> None:
    error, _ = ended_by(meter(budget_usd=100.0, budget_s=0.1), CORE)
    assert isinstance(error, DeadlineExceeded)
    assert error.what == "budget_s"


def test_a_charge_counts_at_once() -> None:
    error, seconds = ended_by(meter(budget_usd=5.0), CORE, charge=Charge(6.0, "a clip"))
    assert isinstance(error, DeadlineExceeded)
    assert seconds < 0.2


@pytest.mark.parametrize(
    ("held", "charge", "named"),
    [(Resources(1.0, 1.0, "Abacus"), None, "'Abacus'"), (CORE, Charge(None, "a clip from afar"), "a clip from afar")],
)
def test_what_has_no_price_ends_the_work_and_is_named(held: Resources, charge: Charge | None, named: str) -> None:
    error, seconds = ended_by(meter(budget_usd=5.0), held, charge=charge)
    assert isinstance(error, InvalidInput)
    assert named in str(error)
    assert seconds < 0.2


def test_a_step_that_waits_in_line_spends_nothing() -> None:
    made = meter(budget_usd=0.05)
    asyncio.run(made.within(lambda: asyncio.sleep(0.2)))


def test_a_step_that_is_done_costs_what_its_record_says_and_no_longer_runs() -> None:
    made = meter(budget_usd=0.2)

    async def work() -> None:
        made.began("call", CORE)
        made.ended("call", record(0.05))
        await asyncio.sleep(0.4)
        made.check()

    asyncio.run(made.within(work))


@pytest.mark.parametrize("made", [meter(spent_usd=1.0, budget_usd=1.0), meter(spent_s=2.0, budget_s=1.0)])
def test_nothing_begins_once_a_budget_is_spent(made: Meter) -> None:
    async def work() -> None:
        pytest.fail("it began")

    with pytest.raises(DeadlineExceeded):
        asyncio.run(made.within(work))


def test_a_past_without_a_price_leaves_no_budget_to_keep() -> None:
    async def check() -> None:
        meter(spent_usd=None, budget_usd=1.0).check()

    with pytest.raises(InvalidInput, match=r"policy\.budget_usd"):
        asyncio.run(check())


def test_a_timeout_of_the_works_own_is_passed_on() -> None:
    async def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(meter(budget_s=10.0).within(work))
