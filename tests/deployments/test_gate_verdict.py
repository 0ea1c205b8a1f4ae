"""The gate: what it hands on, what it turns away, and what it says about a replaced first frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from deployments.gate.verdict import VerdictGate
from serve_app.core.errors import InvalidInput, Rejected
from serve_app.core.media import Clip, Image
from serve_app.core.resize import cover_resize
from serve_app.core.score import Finding, Score, Verdict
from tests.deployments.desk import DeskContext

PHOTO = Image(data.astronaut())


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


@pytest.fixture
def clip() -> Clip:
    frames = np.random.default_rng(0).integers(0, 256, (5, 36, 64, 3), dtype=np.uint8)
    frames.flags.writeable = False
    return Clip(frames=frames, fps=Fraction(24), model="test")


def score(verdict: Verdict) -> Score:
    fine = Finding("integrity", Verdict.PASS, 0.0, "faults", "whole")
    other = Finding("fidelity", verdict, 31.5, "levels", "frame 3 differs most", frame=3)
    return Score("fidelity", 50.0, verdict.name, (fine, other))


def through(desk: DeskContext, clip: Clip, given: Score, image: Image | None = None, **params: object) -> Clip:
    stage = VerdictGate()
    stage.load(VerdictGate.Weights(), desk)
    return stage.run(VerdictGate.Params.model_validate(params), clip=clip, score=given, image=image)


def test_the_gate_says_which_port_it_gates() -> None:
    assert VerdictGate.gates == "clip"


def test_a_pass_hands_on_the_same_clip_without_a_word(desk: DeskContext, clip: Clip) -> None:
    assert through(desk, clip, score(Verdict.PASS)) is clip
    assert desk.warnings == []
    assert desk.notes == {"verdict": "pass"}


def test_a_warning_hands_on_the_same_clip_and_says_why(desk: DeskContext, clip: Clip) -> None:
    assert through(desk, clip, score(Verdict.WARN)) is clip
    assert desk.warnings == ["fidelity warn: frame 3 differs most"]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.REJECT])
def test_a_failure_is_turned_away_with_its_evidence(desk: DeskContext, clip: Clip, verdict: Verdict) -> None:
    with pytest.raises(Rejected) as caught:
        through(desk, clip, score(verdict))
    refusal = caught.value
    evidence = (refusal.detector, refusal.frame, refusal.value, refusal.reason)
    assert evidence == ("fidelity", 3, 31.5, "frame 3 differs most")
    assert refusal.is_final is (verdict is Verdict.REJECT), "another seed may do better than a failure"


def test_a_strict_gate_turns_warnings_away(desk: DeskContext, clip: Clip) -> None:
    with pytest.raises(Rejected):
        through(desk, clip, score(Verdict.WARN), on_warn="reject")


def test_a_lenient_gate_lets_failures_pass_with_a_warning(desk: DeskContext, clip: Clip) -> None:
    assert through(desk, clip, score(Verdict.FAIL), on_fail="warn") is clip
    assert desk.warnings == ["fidelity fail: frame 3 differs most"]


def test_even_a_lenient_gate_turns_a_rejection_away(desk: DeskContext, clip: Clip) -> None:
    with pytest.raises(Rejected):
        through(desk, clip, score(Verdict.REJECT), on_fail="warn")


def test_a_score_that_found_nothing_passes(desk: DeskContext, clip: Clip) -> None:
    assert through(desk, clip, Score("silent", 100.0, "", ())) is clip


def test_the_first_frame_becomes_exactly_the_photo_in_a_copy(desk: DeskContext, clip: Clip) -> None:
    before = clip.frames.copy()
    mended = through(desk, clip, score(Verdict.PASS), PHOTO, replace_first_frame=True)
    assert np.array_equal(mended.frames[0], cover_resize(PHOTO.pixels, 36, 64))
    assert np.array_equal(mended.frames[1:], before[1:])
    assert np.array_equal(clip.frames, before)
    assert (mended.fps, mended.model) == (clip.fps, clip.model)


def test_a_replaced_first_frame_is_never_silent(desk: DeskContext, clip: Clip) -> None:
    through(desk, clip, score(Verdict.PASS), PHOTO, replace_first_frame=True)
    step = desk.notes["first_step"]
    jump = np.abs(clip.frames[0].astype(int) - clip.frames[1]).mean()
    assert desk.notes["first_frame_replaced"] is True
    assert step["before"] == pytest.approx(jump)
    assert step["after"] != step["before"]


def test_a_failed_clip_is_not_mended(desk: DeskContext, clip: Clip) -> None:
    with pytest.raises(Rejected):
        through(desk, clip, score(Verdict.FAIL), PHOTO, replace_first_frame=True)
    assert "first_frame_replaced" not in desk.notes


def test_replacing_without_a_photo_is_refused(desk: DeskContext, clip: Clip) -> None:
    with pytest.raises(InvalidInput) as caught:
        through(desk, clip, score(Verdict.PASS), replace_first_frame=True)
    assert caught.value.field == "image"


def test_a_single_frame_can_be_replaced(desk: DeskContext) -> None:
    single = Clip(frames=np.zeros((1, 36, 64, 3), np.uint8), fps=Fraction(24), model="test")
    mended = through(desk, single, score(Verdict.PASS), PHOTO, replace_first_frame=True)
    assert mended.frames.max() > 0
    assert desk.notes["first_step"]["before"] is None
