"""A budget in USD is refused where something has no price."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.core.errors import InvalidInput
from serve_app.core.stage import Strict
from serve_app.graph.plan import Plan, compile_plan, deployment_of
from serve_app.graph.record import Resources
from serve_app.graph.spec import RunPolicy, parse_pipeline
from serve_app.runs.ledger import Prices
from serve_app.runs.priced import check_priced, nothing_known
from tests.graph.stages import DEPLOYMENTS, PIPELINE, Flat, bright

BUDGET = RunPolicy(budget_usd=1.0)


class Hired(Flat):
    """Somebody else's service, whose price was not given."""

    Weights, Params = Flat.Weights, Flat.Params

    @staticmethod
    def unpriced(weights: Strict) -> str | None:
        return "a picture from elsewhere"


def hired() -> Plan:
    known = {**DEPLOYMENTS, "flat": deployment_of("flat", "flat", Hired, {})}
    return compile_plan(parse_pipeline(PIPELINE, "test"), known)


def held(*each: Resources) -> Any:
    return lambda: {"flat": each}


def test_an_accelerator_without_a_price_is_refused_with_its_deployment() -> None:
    with pytest.raises(InvalidInput, match=r"policy\.budget_usd: .*'Abacus' \(flat\) has no price"):
        check_priced(bright(), BUDGET, Prices(), held(Resources(1.0, 0.5, "L4"), Resources(1.0, 0.5, "Abacus")))


def test_what_has_a_price_is_admitted() -> None:
    check_priced(bright(), BUDGET, Prices(), held(Resources(1.0, 0.5, "L4"), Resources(4.0)))


def test_without_a_budget_in_usd_nothing_is_asked() -> None:
    check_priced(bright(), RunPolicy(budget_s=1.0), Prices(), held(Resources(1.0, 0.5, "Abacus")))


def test_a_stage_that_is_charged_at_an_unknown_price_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"a picture from elsewhere \(flat\) has no price"):
        check_priced(hired(), BUDGET, Prices(), nothing_known)


def test_what_is_not_known_yet_is_admitted() -> None:
    check_priced(bright(), BUDGET, Prices(), nothing_known)
