"""The shipped pipelines with adapters: a request may name some or none, and none of it is guessed."""

from __future__ import annotations

import pytest

from serve_app.config import plan_alone
from serve_app.core.errors import InvalidInput
from serve_app.graph.plan import Plan
from serve_app.graph.spec import find_pipeline

NAMES = ("ltx2-lora-1080p", "flux-lora")
PLAIN = {"ltx2-lora-1080p": "ltx2-fidelity-1080p", "flux-lora": "flux-image"}


def plan_of(name: str) -> Plan:
    return plan_alone(find_pipeline(name))


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_may_be_named_or_left_out(name: str) -> None:
    plan = plan_of(name)
    assert plan.bind({"prompt": "a fox", "seed": 7}).inputs["adapter"] is None
    for given in ("anime-v2", "anime-v2@0.8,film@-0.2", ["character-42"]):
        assert plan.bind({"prompt": "a fox", "seed": 7, "adapter": given}).inputs["adapter"] == given


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_is_refused_before_anything_is_loaded(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan_of(name).bind({"prompt": "a fox", "seed": 7, "lora": "../secret"})
    assert caught.value.field == "inputs.adapter"


@pytest.mark.parametrize("name", NAMES)
def test_but_for_adapters_it_is_the_pipeline_without_them(name: str) -> None:
    ours, theirs = plan_of(name), plan_of(PLAIN[name])
    given = {"prompt": "a fox", "seed": 7}
    with_none, without = ours.bind(given), theirs.bind(given)
    assert set(ours.inputs) - set(theirs.inputs) == {"adapter", "partial"}
    assert all(params == without.params[node] for node, params in with_none.params.items() if node != "adapters")


def test_a_name_without_a_strength_is_worn_at_065_by_ltx2() -> None:
    params = plan_of("ltx2-lora-1080p").bind({"prompt": "a fox", "seed": 7}).params["adapters"]
    assert params.model_dump()["strength"] == 0.65
