"""Targets are held against a run when it is over."""

from __future__ import annotations

import pytest

from serve_app.runs.ledger import Prices, Usage, cost_of
from serve_app.runs.targets import missed

THIRTY_WON_USD = 30 / 1450
A_MINUTE = {"max_cost_usd": THIRTY_WON_USD, "max_seconds": 67.0}


def a10(seconds: float) -> float | None:
    return cost_of([Usage(step="generate", seconds=seconds, accelerator="A10", gpus=1.0)], Prices()).usd


def test_58_seconds_of_an_a10_keep_to_thirty_won_and_67_seconds() -> None:
    assert missed(A_MINUTE, a10(58.0), 58.0) == []


def test_each_target_that_was_missed_is_said_with_both_figures() -> None:
    cost, seconds = missed(A_MINUTE, a10(70.0), 70.0)
    assert cost == "target missed: it cost 0.02142 USD, and max_cost_usd is 0.0206897"
    assert seconds == "target missed: it took 70.0 s, and max_seconds is 67"


def test_an_unknown_cost_neither_keeps_to_a_target_nor_misses_it() -> None:
    (said,) = missed({"max_cost_usd": 0.02}, None, 1.0)
    assert said.startswith("target unknown")


@pytest.mark.parametrize("policy", [{}, {"max_cost_usd": None, "max_seconds": None}])
def test_without_targets_nothing_is_said(policy: dict[str, None]) -> None:
    assert missed(policy, None, 1e9) == []
