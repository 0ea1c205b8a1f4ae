"""Preparing ahead: beside the steps that still work, where the request has what it takes, and never at a run's cost."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from serve_app.core.errors import InvalidInput, Misconfigured, Rejected, StageFailed
from serve_app.core.media import Clip
from serve_app.core.score import Score
from serve_app.core.stage import Context, Strict, contract_of
from serve_app.graph.plan import Deployment, Plan, compile_plan, deployment_of
from serve_app.graph.preparing import call_of
from serve_app.graph.run import Outcome, Rules, walk
from serve_app.graph.spec import parse_pipeline
from tests.graph.stages import DEPLOYMENTS, Counting, Flat, in_process
from tests.graph.test_run import Notes


class Learned:
    """Scores a clip; what it may learn before is the level to compare with."""

    class Weights(Strict):
        """None."""

    class Params(Strict):
        """``breaks``: preparing raises. ``slow_s``: how long it takes."""

        breaks: bool = False
        slow_s: float = 0.0

    def load(self, weights: Weights, context: Context) -> None:
        self._context, self._learned = context, threading.Event()

    def prepare(self, params: Params, *, level: int) -> None:
        """Learn the level."""
        time.sleep(params.slow_s)
        if params.breaks:
            raise InvalidInput("level", f"{level} cannot be learnt")
        self._learned.set()

    def run(self, params: Params, *, clip: Clip, level: int | None = None) -> Score:
        self._context.note("was_prepared", self._learned.is_set())
        self._context.warn("its own")
        return Score("learned", 100.0, "PASS", ())


class Quitter(Flat):
    """Makes a clip, or gives its own attempt up."""

    Params = Flat.Params

    def run(self, params: Flat.Params, *, seed: int) -> Clip:
        if seed < 100:
            time.sleep(0.02)
            raise Rejected("early_abort", None, float(seed), "hopeless")
        return super().run(params, seed=seed)


def deployments() -> dict[str, Deployment]:
    more = {"learned": Learned, "quitter": Quitter}
    return {**DEPLOYMENTS, **{name: deployment_of(name, name, stage, {}) for name, stage in more.items()}}


def plan(level: str = "$level", maker: str = "flat", **judge: Any) -> Plan:
    spec: dict[str, Any] = {
        "version": 1,
        "name": "learning",
        "inputs": {"seed": "seed", "level": {"type": "integer", "optional": True}},
        "nodes": {
            "draft": {"use": maker, "with": {"pause_s": 0.1}, "take": {"seed": "$seed"}},
            "judge": {"use": "learned", "with": judge, "take": {"clip": "draft", "level": level}},
        },
        "outputs": {"score": "judge"},
    }
    return compile_plan(parse_pipeline(spec, "test"), deployments())


def walked(root: Path, of: Plan, **inputs: Any) -> Outcome:
    bound = of.bind({"seed": 200, "level": 3, **inputs})
    return asyncio.run(walk(bound, in_process(root), Notes(), Rules()))


def test_a_step_is_prepared_while_the_one_before_it_works(tmp_path: Path) -> None:
    record = walked(tmp_path, plan()).done["judge"].record
    assert record.notes["was_prepared"] is True
    assert record.warnings == ("its own",)


def test_what_is_prepared_too_slowly_is_not_waited_for(tmp_path: Path) -> None:
    began = time.perf_counter()
    record = walked(tmp_path, plan(slow_s=3)).done["judge"].record
    assert record.notes["was_prepared"] is False
    assert time.perf_counter() - began < 3


def test_an_error_while_preparing_is_a_warning_in_the_steps_record_and_nothing_else(tmp_path: Path) -> None:
    outcome = walked(tmp_path, plan(breaks=True))
    assert outcome.done["judge"].record.warnings == (
        "preparing ahead failed, which costs time alone: level: 3 cannot be learnt",
        "its own",
    )


def test_without_the_optional_input_there_is_nothing_to_prepare(tmp_path: Path) -> None:
    record = walked(tmp_path, plan(), level=None).done["judge"].record
    assert record.notes["was_prepared"] is False


def test_only_a_step_whose_ports_come_with_the_request_is_prepared(tmp_path: Path) -> None:
    compiled = plan()
    bound = compiled.bind({"seed": 200, "level": 3})
    steps = {step.node: step for step in compiled.steps}
    assert call_of(steps["draft"], bound) is None
    call = call_of(steps["judge"], bound)
    assert call is not None
    assert call.values == {"level": 3}


def test_what_is_known_is_not_prepared(tmp_path: Path) -> None:
    first = walked(tmp_path, plan())
    caller = Counting(in_process(tmp_path))
    outcome = asyncio.run(walk(plan().bind({"seed": 200, "level": 3}), caller, Notes(), Rules(), first.done))
    assert caller.calls == {}
    assert outcome.done.keys() == first.done.keys()


def test_preparing_takes_ports_of_run_alone() -> None:
    class Odd(Learned):
        Params = Learned.Params

        def prepare(self, params: Learned.Params, *, photo: int) -> None:  # type: ignore[override]
            """Learn nothing."""

    with pytest.raises(Misconfigured, match=r"odd.prepare: takes photo; run's are clip, level"):
        contract_of("odd", Odd)


def test_params_that_the_weights_cannot_serve_are_found_at_plan_time() -> None:
    class Picky(Learned):
        Params = Learned.Params

        @staticmethod
        def fits(params: Learned.Params, weights: Learned.Weights) -> None:
            """Refuse."""
            raise Misconfigured("weights.x", "is missing")

    stages = {**deployments(), "learned": deployment_of("learned", "learned", Picky, {})}
    spec = {"version": 1, "name": "p", "inputs": {"seed": "seed"}, "outputs": {"score": "judge"}}
    nodes = {
        "draft": {"use": "flat", "take": {"seed": "$seed"}},
        "judge": {"use": "learned", "take": {"clip": "draft"}},
    }
    with pytest.raises(Misconfigured, match=r"weights\.x"):
        compile_plan(parse_pipeline({**spec, "nodes": nodes}, "test"), stages)


def test_a_stage_that_is_no_gate_may_reject_its_own_attempt(tmp_path: Path) -> None:
    for is_enforced in (True, False):
        bound = plan(maker="quitter").bind({"seed": 50, "level": 3})
        rules = Rules(are_gates_enforced=is_enforced)
        outcome = asyncio.run(walk(bound, in_process(tmp_path), Notes(), rules))
        assert outcome.rejected is not None
        assert outcome.rejected.detector == "early_abort"
        assert outcome.rejected.record is not None
        assert outcome.rejected.record["seconds"] >= 0.02
        assert outcome.rejected.record["ended"] == "rejected"
        assert outcome.done == {}


def test_an_unforeseen_exception_while_preparing_carries_the_stages_name(tmp_path: Path) -> None:
    class Broken(Learned):
        Params = Learned.Params

        def prepare(self, params: Learned.Params, *, level: int) -> None:
            """Break."""
            raise ZeroDivisionError("oops")

    caller = in_process(tmp_path)
    stages = {**deployments(), "learned": deployment_of("learned", "learned", Broken, {})}
    bound = plan().bind({"seed": 200, "level": 3})
    steps = {step.node: step for step in bound.plan.steps}
    call = call_of(steps["judge"], bound)
    assert call is not None
    object.__setattr__(call.step, "deployment", stages["learned"])
    with pytest.raises(StageFailed, match="learned ended with ZeroDivisionError: oops"):
        asyncio.run(caller.prepare(call))
