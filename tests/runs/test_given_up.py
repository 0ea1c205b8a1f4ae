"""Attempts that a generator gives up itself: tried again under the next seed, paid for, and never delivered."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from serve_app.core.errors import Rejected
from serve_app.core.media import Clip
from serve_app.graph.plan import compile_plan, deployment_of
from serve_app.graph.spec import parse_pipeline
from serve_app.runs.ledger import Prices
from serve_app.runs.model import RunState
from serve_app.runs.queue import Queue, QueueSettings
from serve_app.runs.report import Reporter
from tests.graph.stages import DEPLOYMENTS, PIPELINE, Flat
from tests.runs.house import House


class Quitter(Flat):
    """Makes a clip, or gives its own attempt up: for the seed 50 alone, or for all."""

    Params = Flat.Params
    gives_up = frozenset({50})

    def run(self, params: Flat.Params, *, seed: int) -> Clip:
        if seed in self.gives_up or not self.gives_up:
            time.sleep(0.05)
            self._context.note("saw", "nothing")
            raise Rejected("early_abort", None, 0.01, "nothing is on it")
        return super().run(params, seed=200)


class AlwaysQuits(Quitter):
    """Gives every attempt up."""

    gives_up = frozenset()


def house(root: Path, maker: type[Flat]) -> House:
    made = House(root)
    stages = {**DEPLOYMENTS, "flat": deployment_of("flat", "flat", maker, {})}
    made.plan = compile_plan(parse_pipeline({**PIPELINE, "policy": {"attempts": 2}}, "test"), stages)
    reporter = Reporter({made.plan.name: made.plan}, Prices())
    settings = QueueSettings(lease_s=5, poll_s=0.01, step_retries=1, max_claims=2)
    made.queue = Queue(made.store, {made.plan.name: made.plan}, made.caller, reporter, settings)
    return made


def test_the_next_seed_is_tried_and_what_was_spent_is_counted(tmp_path: Path) -> None:
    made = house(tmp_path, Quitter)
    run_id = made.submit(50)
    made.work()
    run, report = made.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    first, second = report["attempts"]
    assert first["rejection"]["detector"] == "early_abort"
    assert [step["node"] for step in first["steps"]] == ["draft"]
    assert first["steps"][0]["seconds"] >= 0.05
    assert first["steps"][0]["notes"] == {"saw": "nothing"}
    assert first["verdict"] == "fail"
    assert second["rejection"] is None
    assert report["delivered_attempt"] == 2


@pytest.mark.parametrize("keep", ["best", "none"])
def test_when_all_are_given_up_there_is_nothing_to_keep(tmp_path: Path, keep: str) -> None:
    made = house(tmp_path, AlwaysQuits)
    run_id = made.submit(50, {"keep": keep})
    made.work()
    run, report = made.ended(run_id)
    assert run.state is RunState.REJECTED
    assert report["delivered_attempt"] is None
    assert made.caller.calls == {"draft": 2}, "and no attempt is made again to be kept"
