"""Adapters through a whole graph: a request names them, a stage finds them, a generator is given them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serve_app.artifacts.local import LocalArtifacts
from serve_app.core.adapter import Adapter, Adapters, WantedAdapter, WantedAdapters
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.score import Score
from serve_app.core.stage import Context, Strict
from serve_app.graph.callers import Call, InProcess
from serve_app.graph.host import Place
from serve_app.graph.plan import Plan, compile_plan, deployment_of
from serve_app.graph.record import Called, Resources
from serve_app.graph.spec import parse_pipeline
from serve_app.runs.values import from_json, is_kept, to_json


class Nothing(Strict):
    """No fields."""


class Finder:
    Weights = Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None: ...

    def run(self, params: Nothing, *, adapter: WantedAdapters | None = None) -> Adapters:
        items = adapter.items if adapter else ()
        return Adapters(tuple(_adapter(wanted) for wanted in items))


class Wearer:
    """Scores one point per unit of strength."""

    Weights = Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None: ...

    def run(self, params: Nothing, *, adapters: Adapters | None = None) -> Score:
        points = sum(adapter.strength for adapter in adapters.items) if adapters else 0.0
        return Score("wearer", points, "", ())


def _adapter(wanted: WantedAdapter) -> Adapter:
    return Adapter(
        wanted.name,
        "0" * 64,
        1.0 if wanted.strength is None else wanted.strength,
        "ltx2",
        "peft A/B",
        "bf16",
        (4, 4),
        1,
        1,
        10,
    )


def _plan(**inputs: Any) -> Plan:
    document = {
        "version": 1,
        "name": "worn",
        "inputs": {"adapter": {"type": "adapter", "optional": True, "aliases": ["lora_name"], **inputs}},
        "nodes": {
            "find": {"use": "finder", "take": {"adapter": "$adapter"}},
            "wear": {"use": "wearer", "take": {"adapters": "find"}},
        },
        "outputs": {"score": "wear"},
    }
    deployments = {
        name: deployment_of(name, f"test.{name}", stage, {})
        for name, stage in {"finder": Finder, "wearer": Wearer}.items()
    }
    return compile_plan(parse_pipeline(document, "worn.yaml"), deployments)


def _walk(given: dict[str, Any], root: Path) -> tuple[Called, Called]:
    bound, place = _plan().bind(given), Place("cpu", 1, Resources(), LocalArtifacts(root / "a"), root / "s")
    caller = InProcess(lambda deployment: place)

    async def both() -> tuple[Called, Called]:
        find, wear = bound.plan.steps
        values = {port: bound.inputs[source.name] for port, source in find.takes.items()}
        given_values = {port: value for port, value in values.items() if value is not None}
        found = await caller.call(Call(find, bound.params["find"], given_values, lambda done, of: None))
        worn = await caller.call(Call(wear, bound.params["wear"], {"adapters": found.value}, lambda done, of: None))
        return found, worn

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("given", "points"),
    [
        ({}, 0.0),
        ({"adapter": None}, 0.0),
        ({"adapter": "a@0.5"}, 0.5),
        ({"adapter": ["a@0.5", "b"]}, 1.5),
        ({"lora_name": "a@0.25,b@-1"}, -0.75),
    ],
)
def test_names_reach_the_stage_that_finds_them_and_what_it_found_the_next(
    given: dict[str, Any], points: float, tmp_path: Path
) -> None:
    _, worn = _walk(given, tmp_path)
    assert worn.value.points == points


def test_what_was_found_is_described_and_survives_a_restart(tmp_path: Path) -> None:
    found, _ = _walk({"adapter": "a@0.5"}, tmp_path)
    assert found.record.value["items"][0]["digest"] == "0" * 64
    document = to_json(found)
    assert is_kept(document)
    assert from_json(document) == found


@pytest.mark.parametrize("given", ["../a", "a@nan", 3, [], ["a", "a"], {"name": "a"}, True])
def test_what_is_no_name_is_refused_before_anything_runs(given: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        _plan().bind({"adapter": given})
    assert caught.value.field == "inputs.adapter"


def test_a_default_that_is_no_name_is_a_fault_of_the_pipeline() -> None:
    with pytest.raises(Misconfigured, match=r"inputs\.adapter\.default"):
        _plan(default="../a")
