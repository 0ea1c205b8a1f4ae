"""When a set of adapters is baked."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from deployments.nets.lora.policy import PASSES_TO_BAKE, Policy, WayWanted

A: tuple[Any, ...] = (("a", (), False, 0.65),)
B: tuple[Any, ...] = (("b", (), False, 0.65),)


@pytest.mark.parametrize("way", ["unfused", "baked"])
def test_what_the_operator_says_is_done(way: Any) -> None:
    policy = Policy(way)
    for _ in range(3):
        assert policy.choose(A).way == way
        policy.worn(A, PASSES_TO_BAKE)


def test_a_set_is_baked_once_its_passes_have_cost_what_baking_costs() -> None:
    policy = Policy("auto")
    assert policy.choose(A).way == "unfused"
    policy.worn(A, PASSES_TO_BAKE - 1)
    assert policy.choose(A).way == "unfused"
    policy.worn(A, 1)
    choice = policy.choose(A)
    assert (choice.way, choice.why) == ("baked", f"worn for {PASSES_TO_BAKE} passes in a row")
    policy.worn(A, 0)
    assert policy.choose(A).way == "baked", "and stays so"


@pytest.mark.parametrize("other", [B, (), A + B, (("a", (), False, 0.5),)])
def test_any_other_set_begins_the_count_again(other: tuple[Any, ...]) -> None:
    policy = Policy("auto")
    policy.worn(A, PASSES_TO_BAKE)
    assert policy.choose(other).way == "unfused"
    policy.worn(other, 1)
    assert policy.choose(A).way == "unfused"
    policy.worn(A, 1)
    assert policy.choose(A).why == "worn for 1 passes in a row"


def test_the_base_is_never_baked_into_itself() -> None:
    policy = Policy("auto")
    policy.worn((), PASSES_TO_BAKE)
    assert policy.choose(()).way == "unfused"


def test_what_cannot_be_baked_is_worn_unfused_and_says_why() -> None:
    policy = Policy("auto")
    policy.forbid("weights stored as float8_e4m3fn cannot be baked into")
    policy.worn(A, PASSES_TO_BAKE)
    assert policy.choose(A).why == "weights stored as float8_e4m3fn cannot be baked into"
    assert policy.choose(A).way == "unfused"


def test_a_way_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(WayWanted).validate_python("fused")
