"""Whose calls go together: by the adapters that they wear, and by nothing else."""

from __future__ import annotations

from typing import Any

from serve_app.config import plan_alone
from serve_app.core.adapter import Adapter, Adapters
from serve_app.core.stage import Strict
from serve_app.graph.callers import Call
from serve_app.graph.spec import find_pipeline
from serve_app.serving.affinity import set_of


def adapter(name: str, strength: float = 1.0, parts: tuple[str, ...] = ()) -> Adapter:
    return Adapter(name, name * 64, strength, "flux", "peft A/B", "bf16", (4, 4), 1, 1, 10, parts)


def call(node: str, **values: Any) -> Call:
    plan = plan_alone(find_pipeline("flux-lora"))
    step = next(step for step in plan.steps if step.node == node)
    return Call(step, Strict(), values, lambda done, of: None)


def worn(*items: Adapter) -> str:
    return set_of(call("draft", prompt="a fox", seed=1, adapters=Adapters(items)))


def test_a_set_is_its_files_in_any_order_and_at_any_strength() -> None:
    assert worn(adapter("a"), adapter("b")) == worn(adapter("b", 0.5), adapter("a", -1))
    assert worn(adapter("a")) != worn(adapter("b"))
    assert worn(adapter("a")) != worn(adapter("a"), adapter("b"))
    assert worn(adapter("a")) != worn(adapter("a", parts=("transformer_2",)))
    assert len(worn(adapter("a"))) == 64


def test_a_call_without_adapters_goes_anywhere() -> None:
    assert worn() == ""
    assert set_of(call("draft", prompt="a fox", seed=1)) == ""
    assert set_of(call("encode", prompt="a fox", seed=1)) == ""


def test_names_that_are_looked_up_go_where_they_were_looked_up_before() -> None:
    names = [set_of(call("adapters", adapter=given)) for given in ("a,b@0.5", ["b", "a"], "a")]
    assert names[0] == names[1]
    assert names[0] != names[2]
