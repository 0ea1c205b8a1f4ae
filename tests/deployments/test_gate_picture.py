"""The gate for pictures: what it hands on is the picture itself, what it turns away says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.gate.picture import PictureGate
from serve_app.core.errors import Rejected
from serve_app.core.media import Image
from serve_app.core.score import Finding, Score, Verdict
from tests.deployments.desk import DeskContext

PICTURE = Image(np.zeros((4, 4, 3), np.uint8))


def score(*verdicts: Verdict) -> Score:
    found = tuple(Finding(f"sharpness-{v.word}", v, 12.5, "levels", "soft", frame=None) for v in verdicts)
    return Score("image", 50.0, "FAIL", found)


def gate(desk: DeskContext, given: Score, **params: Any) -> Image:
    stage = PictureGate()
    stage.load(PictureGate.Weights(), desk)
    return stage.run(PictureGate.Params(**params), image=PICTURE, score=given)


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def test_a_pass_hands_on_the_picture_itself(desk: DeskContext) -> None:
    assert gate(desk, score(Verdict.PASS)) is PICTURE
    assert (desk.notes, desk.warnings) == ({"verdict": "pass"}, [])


def test_a_warning_is_handed_on_and_said(desk: DeskContext) -> None:
    assert gate(desk, score(Verdict.WARN)) is PICTURE
    assert desk.warnings == ["sharpness-warn warn: soft"]


def test_a_failure_names_the_detector_and_the_value(desk: DeskContext) -> None:
    with pytest.raises(Rejected) as caught:
        gate(desk, score(Verdict.WARN, Verdict.FAIL))
    assert (caught.value.detector, caught.value.frame, caught.value.value) == ("sharpness-fail", None, 12.5)


def test_a_gate_may_be_looser_or_stricter(desk: DeskContext) -> None:
    assert gate(desk, score(Verdict.FAIL), on_fail="warn") is PICTURE
    with pytest.raises(Rejected):
        gate(desk, score(Verdict.WARN), on_warn="reject")


def test_what_is_no_picture_is_always_turned_away(desk: DeskContext) -> None:
    with pytest.raises(Rejected):
        gate(desk, score(Verdict.REJECT), on_fail="warn")


def test_a_judge_without_findings_passes(desk: DeskContext) -> None:
    assert gate(desk, Score("image", 100.0, "PASS", ())) is PICTURE
