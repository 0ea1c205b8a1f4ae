"""The shipped pipeline with judge.video in the loop, as a newcomer runs it: no weights, no GPU."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.commands.demo import INPUTS
from serve_app.commands.local import Local
from serve_app.config import AppConfig

PIPELINE = "animatic-judged"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A short run of the demo's photo: its report."""
    local = Local(AppConfig(pipelines=(PIPELINE,), directory=tmp_path_factory.mktemp("judged")), {})
    run_id = local.submit(PIPELINE, {**INPUTS, "frames": 17}, {})
    for _ in local.follow(run_id):
        pass
    found = local.report(run_id)
    local.close()
    return found


def test_a_camera_move_over_a_photo_passes_every_detector(report: dict[str, Any]) -> None:
    assert (report["state"], report["verdict"]["word"]) == ("succeeded", "pass")
    assert report["scores"]["final_judge"]["judge"] == "video"


def test_the_finished_clip_is_held_against_the_draft(report: dict[str, Any]) -> None:
    measures = report["scores"]["final_judge"]["measures"]
    assert 0 < measures["flicker_gain"] < 1.6
    assert "flicker_gain" not in report["scores"]["judge"]["measures"]


def test_the_picture_was_learnt_beside_the_draft_and_once_for_both_judges(report: dict[str, Any]) -> None:
    notes = {step["node"]: step["notes"] for step in report["attempts"][0]["steps"]}
    assert notes["judge"]["null"] in ("known", "awaited")
    assert notes["final_judge"]["null"] == "known"
