"""The report of a run, however it ended."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from serve_app.core.artifact import Artifact
from serve_app.core.score import Finding, Score, Verdict
from serve_app.graph.record import Resources, StepRecord
from serve_app.runs.attempt import Attempt, Result
from serve_app.runs.ledger import LIST_USD_PER_S, Prices
from serve_app.runs.model import Run, RunState
from serve_app.runs.report import Reporter
from tests.graph.stages import bright

REJECTION = {"detector": "dark", "frame": 0, "value": 3.9, "reason": "too dark"}
RUN = Run(
    id="run-1",
    pipeline="bright",
    inputs={"seed": 7},
    policy={"attempts": 3},
    state=RunState.RUNNING,
    created_s=100.0,
    started_s=101.5,
    finished_s=None,
    claims=1,
    owner="runner",
    is_cancel_requested=False,
    error=None,
    report=None,
    last_seq=3,
)


def record(node: str, seconds: float, started_s: float = 0.0, **facts: Any) -> StepRecord:
    return StepRecord(node, f"test.{node}", node, started_s, seconds, 0.0, **{"resources": GPU, "params": {}, **facts})


GPU = Resources(cpus=1.0, gpus=0.5, accelerator="NVIDIA L4")
DRAFT_USD_PER_S = 0.5 * LIST_USD_PER_S["L4"] + Prices().usd_per_cpu_s


def score(points: float, verdict: Verdict) -> Score:
    return Score("judge", points, verdict.word, (Finding("dark", verdict, points, "points", "as dark as this", 1),))


def artifact(name: str) -> Artifact:
    return Artifact(name[0] * 64, "application/json", 2, f"{name}.json")


def rejected(number: int) -> Attempt:
    values = {"judge": score(4.0, Verdict.FAIL), "sheet": artifact("sheet")}
    return Attempt(number, 7 + number, 2.0, (record("draft", 2.0),), values, REJECTION)


def accepted(number: int) -> Attempt:
    values = {"judge": score(90.0, Verdict.PASS), "sheet": artifact("sheet"), "file": artifact("file")}
    return Attempt(number, 7 + number, 3.0, (record("draft", 2.0), record("file", 1.0)), values, None)


def cut_short(number: int) -> Attempt:
    return Attempt(number, 7 + number, 1.0, (record("draft", 1.0),), {}, None, is_finished=False)


def report(state: RunState, *attempts: Attempt, delivered: Attempt | None = None) -> dict[str, Any]:
    plan = bright()
    is_accepted = state is RunState.SUCCEEDED
    document = Reporter({plan.name: plan}, Prices()).report(RUN, state, Result(attempts, delivered, is_accepted))
    return dict(json.loads(json.dumps(document, allow_nan=False)))


def test_an_accepted_run_shows_what_is_delivered_and_every_attempt_before_it() -> None:
    last = accepted(2)
    said = report(RunState.SUCCEEDED, rejected(1), last, delivered=last)
    assert (said["state"], said["is_accepted"], said["delivered_attempt"]) == ("succeeded", True, 2)
    assert said["verdict"] == {
        "word": "pass",
        "detector": None,
        "frame": None,
        "value": None,
        "reason": "nothing to object to (checks: 1, judgements: 1)",
    }
    assert said["outputs"].keys() == {"file", "sheet"}
    assert said["scores"].keys() == {"judge"}
    assert [each["verdict"] for each in said["attempts"]] == ["fail", "pass"]


def test_every_attempt_costs_and_the_accepted_clip_bears_it_all() -> None:
    last = accepted(2)
    cost = report(RunState.SUCCEEDED, rejected(1), last, delivered=last)["cost"]
    assert cost["usd"] == pytest.approx(5.0 * DRAFT_USD_PER_S, abs=1e-9)
    assert cost["usd_per_accepted_clip"] == cost["usd"]
    assert report(RunState.REJECTED, rejected(1))["cost"]["usd_per_accepted_clip"] is None


def test_a_rejected_run_delivers_nothing_and_shows_its_evidence() -> None:
    said = report(RunState.REJECTED, rejected(1), rejected(2))
    assert (said["outputs"], said["delivered_attempt"], said["is_accepted"]) == ({}, None, False)
    assert said["evidence"].keys() == {"sheet"}
    assert said["verdict"] == {"word": "fail", **REJECTION}


def test_the_best_of_a_rejected_run_is_delivered_and_still_failed() -> None:
    best = replace(rejected(1), values={**rejected(1).values, "file": artifact("file")})
    said = report(RunState.REJECTED, best, rejected(2), delivered=best)
    assert said["outputs"].keys() == {"file", "sheet"}
    assert (said["delivered_attempt"], said["is_accepted"], said["verdict"]["word"]) == (1, False, "fail")


def test_a_rejected_attempt_never_reads_as_passed_however_kind_its_judge_was() -> None:
    kind = replace(rejected(1), values={"judge": score(99.0, Verdict.PASS)})
    assert report(RunState.REJECTED, kind)["attempts"][0]["verdict"] == "fail"


def test_what_was_cut_short_has_no_verdict_but_a_cost() -> None:
    said = report(RunState.CANCELLED, cut_short(1))
    assert said["verdict"] == {
        "word": None,
        "detector": None,
        "frame": None,
        "value": None,
        "reason": "no attempt was judged",
    }
    assert (said["attempts"][0]["verdict"], said["attempts"][0]["is_finished"]) == (None, False)
    assert said["attempts"][0]["cost"]["usd"] == pytest.approx(DRAFT_USD_PER_S, abs=1e-9)


def test_a_run_cut_short_later_keeps_the_word_on_the_attempt_that_was_judged() -> None:
    said = report(RunState.CANCELLED, rejected(1), cut_short(2))
    assert said["verdict"]["detector"] == "dark"
    assert said["evidence"].keys() == {"sheet"}


def test_a_run_that_failed_before_anything_was_done_has_an_empty_report() -> None:
    said = report(RunState.FAILED)
    assert (said["attempts"], said["evidence"], said["warnings"]) == ([], {}, [])
    assert said["cost"]["usd"] == 0.0
    assert said["verdict"]["word"] is None


def test_a_run_of_a_pipeline_that_is_gone_can_be_reported() -> None:
    said = Reporter({}, Prices()).report(RUN, RunState.FAILED, Result((cut_short(1),), None, is_accepted=False))
    assert said["attempts"][0]["outputs"] == {}


def test_a_step_that_was_done_twice_counts_twice() -> None:
    twice = replace(accepted(1), records=(record("draft", 2.0), record("draft", 3.0, started_s=9.0)))
    said = report(RunState.SUCCEEDED, twice, delivered=twice)
    assert said["timings"]["steps_s"] == {"1.draft": 5.0}
    assert said["cost"]["seconds"] == 5.0


def test_each_warning_is_said_once_with_its_node() -> None:
    warned = record("draft", 1.0, warnings=("the tail was cut", "guidance has no effect"))
    attempts = [replace(rejected(number), records=(warned,)) for number in (1, 2)]
    assert report(RunState.REJECTED, *attempts)["warnings"] == [
        {"node": "draft", "message": "the tail was cut"},
        {"node": "draft", "message": "guidance has no effect"},
    ]


def test_an_accelerator_without_a_price_makes_the_cost_unknown_and_says_so() -> None:
    held = Resources(gpus=1.0, accelerator="Abacus")
    strange = replace(accepted(1), records=(record("draft", 1.0, resources=held),))
    cost = report(RunState.SUCCEEDED, strange, delivered=strange)["cost"]
    assert cost["usd"] is None
    assert "'Abacus'" in cost["warnings"][0]


def test_a_first_frame_that_was_replaced_is_told() -> None:
    noted = replace(accepted(1), records=(record("gate", 1.0, notes={"first_frame_replaced": True}),))
    assert report(RunState.SUCCEEDED, noted, delivered=noted)["first_frame_replaced"]
    assert not report(RunState.SUCCEEDED, accepted(1), delivered=accepted(1))["first_frame_replaced"]


def test_times_are_told_from_the_queue_on() -> None:
    timings = report(RunState.REJECTED, rejected(1), rejected(2))["timings"]
    assert (timings["queued_s"], timings["attempts_s"]) == (1.5, 4.0)
