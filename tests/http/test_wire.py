"""How a run, a report and an event travel."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from serve_app.http.wire import from_event, from_run
from serve_app.runs.model import Event, Run, RunState

ARTIFACT = {"digest": "ab" * 32, "media_type": "video/mp4", "size_bytes": 3, "name": "clip.mp4", "facts": {"fps": "24"}}
RUN = Run(
    id="mine",
    pipeline="animate",
    inputs={"prompt": "a fox", "image": {**ARTIFACT, "media_type": "image/png", "name": "holiday.png"}},
    policy={},
    state=RunState.SUCCEEDED,
    created_s=1_750_000_000.25,
    started_s=1_750_000_001.0,
    finished_s=None,
    claims=1,
    owner=None,
    is_cancel_requested=False,
    error=None,
    report=None,
    last_seq=3,
)


def with_report(report: dict[str, Any]) -> Run:
    return dataclasses.replace(RUN, report=report)


def test_a_picture_is_named_by_its_digest_alone() -> None:
    wanted = {"digest": "ab" * 32, "media_type": "image/png", "size_bytes": 3}
    assert from_run(RUN).inputs == {"prompt": "a fox", "image": wanted}


def test_times_have_their_zone() -> None:
    said = from_run(RUN).model_dump(mode="json")
    assert said["created_at"] == "2025-06-15T15:06:40.250000Z"
    assert said["finished_at"] is None


def test_a_whole_report_is_shown() -> None:
    report = {
        "verdict": {"word": "warn", "detector": "flicker", "frame": 3, "value": 0.2, "reason": "it flickers"},
        "scores": {"judge": {"points": 91.0}},
        "attempts": [{"seed": 7, "verdict": "fail", "steps": [1]}, {"seed": 8, "verdict": "pass", "steps": []}],
        "outputs": {"video": ARTIFACT},
        "cost": {"usd": 0.017, "by_step": [{}]},
        "is_accepted": True,
        "warnings": ["negative_prompt has no effect at guidance 1"],
    }
    view = from_run(with_report(report))
    assert view.verdict is not None
    assert (view.verdict.word, view.verdict.detector, view.verdict.frame) == ("warn", "flicker", 3)
    assert (view.scores, view.cost) == ({"judge": {"points": 91.0}}, {"usd": 0.017})
    assert view.attempts == [{"seed": 7, "verdict": "fail"}, {"seed": 8, "verdict": "pass"}], "steps are the report's"
    assert (view.warnings, view.is_accepted) == (report["warnings"], True)
    assert view.links.report == "/v1/runs/mine/artifacts/report.json"
    assert view.artifacts["video"].url == "/v1/runs/mine/artifacts/video"
    assert view.artifacts["video"].facts == {"fps": "24"}


@pytest.mark.parametrize("report", [{}, {"outputs": None, "attempts": None}, {"surprise": 1}])
def test_a_report_may_lack_anything(report: dict[str, Any]) -> None:
    view = from_run(with_report(report))
    assert (view.verdict, view.attempts, view.warnings, view.artifacts) == (None, [], [], {})


def test_an_error_keeps_what_this_version_does_not_know() -> None:
    run = dataclasses.replace(RUN, error={"code": "stage_failed", "detail": "x", "stage": "upscale.edsr"})
    said = from_run(run).model_dump()["error"]
    assert (said["code"], said["stage"]) == ("stage_failed", "upscale.edsr")


def test_addresses_have_the_prefix_the_api_is_mounted_at() -> None:
    assert from_run(RUN, "/green").links.self == "/green/v1/runs/mine"


def test_an_event_on_the_wire_has_its_number_kind_and_time() -> None:
    said = from_event(Event("mine", 4, 1_750_000_000.0, "step", {"done": 2})).model_dump(mode="json")
    assert said == {"run_id": "mine", "seq": 4, "at": "2025-06-15T15:06:40Z", "kind": "step", "data": {"done": 2}}
