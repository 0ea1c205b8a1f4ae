from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from serve_app.core.errors import Misconfigured
from serve_app.graph.record import Charge
from serve_app.runs.ledger import Prices, Usage, cost_of, per_accepted

_PRICES = Prices()
_RENDER = Usage(step="generate", seconds=58.0, accelerator="A10", gpus=1.0)


def test_58_seconds_of_a_whole_a10_cost_1_77_cents_and_25_7_won() -> None:
    cost = cost_of([_RENDER], _PRICES)
    assert cost.usd == pytest.approx(0.017748)
    assert cost.in_currency("KRW") == pytest.approx(25.7, abs=0.05)


def test_a_share_of_a_device_costs_its_share() -> None:
    share = Usage(step="judge", seconds=100.0, accelerator="A10", gpus=0.15)
    assert cost_of([share], _PRICES).usd == pytest.approx(100 * 0.15 * 0.000306)


def test_cpu_cores_are_charged_beside_the_accelerator() -> None:
    step = Usage(step="generate", seconds=10.0, accelerator="L4", gpus=1.0, cpus=4.0)
    assert cost_of([step], _PRICES).usd == pytest.approx(10 * (0.000222 + 4 * 0.0000131))


def test_a_core_hour_costs_what_a_vcpu_hour_is_listed_at() -> None:
    assert 3600 * _PRICES.usd_per_cpu_s == pytest.approx(0.047, abs=0.0005)


def test_a_step_without_a_gpu_costs_its_cores_whatever_accelerator_is_named() -> None:
    assert cost_of([Usage(step="encode", seconds=2.0, accelerator="B9000", cpus=1.0)], _PRICES).usd == 2 * 0.0000131


@pytest.mark.parametrize("accelerator", ["B9000", None])
def test_an_accelerator_without_a_price_makes_the_cost_unknown_and_says_so(accelerator: str | None) -> None:
    cost = cost_of([_RENDER, Usage(step="upscale", seconds=1.0, accelerator=accelerator, gpus=1.0)], _PRICES)
    assert cost.usd is None
    assert cost.in_currency("KRW") is None
    assert [step.usd for step in cost.by_step] == [pytest.approx(0.017748), None]
    assert cost.warnings == (f"there is no price for a second of {str(accelerator)!r}, so the cost is unknown",)


def test_both_phases_of_a_two_phase_step_are_charged() -> None:
    phases = [
        Usage(step="generate", seconds=28.0, accelerator="A10", gpus=1.0, phase="720p"),
        Usage(step="generate", seconds=30.0, accelerator="A10", gpus=1.0, phase="1080p"),
    ]
    cost = cost_of(phases, _PRICES)
    assert cost.usd == pytest.approx(0.017748)
    assert cost.seconds == 58.0
    assert [step.usage.phase for step in cost.by_step] == ["720p", "1080p"]


def test_a_rejected_attempt_costs_as_much_as_an_accepted_one() -> None:
    again = Usage(step="generate", seconds=58.0, accelerator="A10", gpus=1.0, attempt=2)
    assert cost_of([_RENDER, again], _PRICES).usd == pytest.approx(2 * 0.017748)


def test_the_cost_per_accepted_clip_carries_the_rejected_runs() -> None:
    assert per_accepted([0.5, 0.5, 0.5], accepted=2) == pytest.approx(0.75)


def test_the_cost_per_accepted_clip_is_unknown_without_an_accepted_clip() -> None:
    assert per_accepted([0.5], accepted=0) is None


def test_the_cost_per_accepted_clip_is_unknown_when_one_cost_is() -> None:
    assert per_accepted([0.5, None], accepted=1) is None


def test_what_others_charge_comes_on_top_of_the_seconds() -> None:
    paid = Usage(step="generate", seconds=2.0, cpus=1.0, charges=(Charge(0.25, "a clip"), Charge(0.5, "a clip")))
    cost = cost_of([paid], _PRICES)
    assert cost.usd == pytest.approx(0.75 + 2 * 0.0000131)
    assert cost.as_json()["by_step"][0]["charges"] == [{"usd": 0.25, "what": "a clip"}, {"usd": 0.5, "what": "a clip"}]


def test_a_charge_of_which_nobody_knows_the_price_makes_the_cost_unknown_and_is_named() -> None:
    cost = cost_of([_RENDER, Usage(step="generate", seconds=1.0, charges=(Charge(None, "a clip from afar"),))], _PRICES)
    assert cost.usd is None
    assert cost.warnings == ("nobody knows what 'a clip from afar' costs, so the cost is unknown",)


def test_nothing_done_costs_nothing() -> None:
    cost = cost_of([], _PRICES)
    assert (cost.usd, cost.seconds, cost.warnings) == (0.0, 0.0, ())


def test_the_json_has_usd_won_and_every_rate_in_effect() -> None:
    value = cost_of([_RENDER], _PRICES).as_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["usd"] == 0.017748
    assert value["amounts"] == {"KRW": pytest.approx(25.7346)}
    assert value["fx"] == {"KRW": 1450.0}
    assert value["by_step"][0]["usd_per_s"] == 0.000306


def test_a_millisecond_of_one_core_does_not_read_as_free() -> None:
    assert cost_of([Usage(step="gate", seconds=0.001, cpus=1.0)], _PRICES).as_json()["usd"] > 0


def test_a_currency_without_a_rate_is_named() -> None:
    with pytest.raises(Misconfigured, match="EUR"):
        cost_of([_RENDER], _PRICES).in_currency("EUR")


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_a_time_that_cannot_be_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds of generate"):
        Usage(step="generate", seconds=seconds)


@pytest.mark.parametrize(
    "table", [{"usd_per_s": {"A10": -1.0}}, {"fx": {"KRW": 0.0}}, {"usd_per_cpu_s": math.nan}, {"usd_per_hour": {}}]
)
def test_a_price_table_that_cannot_be_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Prices.model_validate(table)
