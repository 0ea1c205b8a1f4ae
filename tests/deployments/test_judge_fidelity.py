"""The judge without weights: the classic figures, and one finding per kind of damage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from deployments.judge.fidelity import Fidelity
from serve_app.core.errors import Cancelled, InvalidInput
from serve_app.core.media import Clip, Image, Pixels
from serve_app.core.resize import cover_resize
from serve_app.core.score import Finding, Score, Verdict
from tests.deployments.desk import DeskContext

GREY = Image(np.full((40, 50, 3), 100, np.uint8))
PHOTO = Image(data.astronaut())
SAMPLE = {0: 10.23, 24: 13.45, 48: 15.67, 72: 14.12, 96: 12.89}


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def judge(desk: DeskContext, frames: Pixels, image: Image | None = PHOTO, /, **params: object) -> Score:
    stage = Fidelity()
    stage.load(Fidelity.Weights(), desk)
    clip = Clip(frames=frames, fps=Fraction(24), model="test")
    return stage.run(Fidelity.Params.model_validate(params), clip=clip, image=image)


def living(count: int = 20, height: int = 90, width: int = 160) -> Pixels:
    """Return the photo with a faint, ever-changing grain, which no detector may mind."""
    still = cover_resize(PHOTO.pixels, height, width).astype(int)
    grain = np.random.default_rng(0).integers(-3, 4, (count, height, width, 3))
    return np.clip(still + grain, 0, 255).astype(np.uint8)


def finding(score: Score, detector: str) -> Finding:
    return next(found for found in score.findings if found.detector == detector)


def shifted(levels: float) -> Pixels:
    """Return a frame that differs from GREY by exactly ``levels`` on average (in hundredths: 2000 px)."""
    frame = GREY.pixels.astype(float) + int(levels)
    extra = round((levels - int(levels)) * frame.size)
    frame.reshape(-1)[:extra] += 1
    return frame.astype(np.uint8)


def test_the_documents_sample_is_reproduced(desk: DeskContext) -> None:
    frames = np.stack([shifted(SAMPLE.get(index, 11.0 + index % 3)) for index in range(97)])
    score = judge(desk, frames, GREY, blank_below=0)
    assert [checkpoint.frame for checkpoint in score.checkpoints] == [0, 24, 48, 72, 96]
    assert [round(checkpoint.value, 2) for checkpoint in score.checkpoints] == list(SAMPLE.values())
    assert [checkpoint.label for checkpoint in score.checkpoints] == ["OK"] * 5
    assert round(score.measures["mean_diff"], 2) == 13.27
    assert round(score.measures["max_diff"], 2) == 15.67
    assert (score.label, score.verdict) == ("EXCELLENT", Verdict.PASS)


@pytest.mark.parametrize(
    ("levels", "label", "verdict"),
    [(0, "OK", 0), (19.99, "OK", 0), (20, "WARN", 1), (29.99, "WARN", 1), (30, "FAIL", 2), (90, "FAIL", 2)],
)
def test_the_bands_are_below_20_and_below_30(desk: DeskContext, levels: float, label: str, verdict: int) -> None:
    frames = np.stack([GREY.pixels, shifted(levels)])
    score = judge(desk, frames, GREY, blank_below=0, duplicate_below=0)
    assert score.checkpoints[-1].label == label
    assert finding(score, "fidelity").verdict is Verdict(verdict)
    assert finding(score, "fidelity").frame == (1 if levels else 0)


def test_a_living_clip_passes_every_detector(desk: DeskContext) -> None:
    score = judge(desk, living())
    assert {found.detector for found in score.findings} == {"integrity", "black", "blank", "frozen", "fidelity"}
    assert all(found.verdict is Verdict.PASS and found.reason for found in score.findings)


def test_the_photo_is_covered_and_cropped_before_it_is_compared(desk: DeskContext) -> None:
    assert judge(desk, living(), duplicate_below=0).measures["max_diff"] < 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"frames": 25}, "frames is 20, not 25"),
        ({"width": 640}, "width is 160, not 640"),
        ({"height": 360}, "height is 90, not 360"),
        ({"fps": 25}, "fps is 24, not 25"),
    ],
)
def test_a_clip_that_is_not_what_was_asked_for_is_rejected(
    desk: DeskContext, asked: dict[str, int], words: str
) -> None:
    found = finding(judge(desk, living(), **asked), "integrity")
    assert found.verdict is Verdict.REJECT
    assert words in found.reason


def test_a_clip_as_asked_is_whole(desk: DeskContext) -> None:
    score = judge(desk, living(), frames=20, width=160, height=90, fps="24")
    assert finding(score, "integrity").verdict is Verdict.PASS


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_frames_are_no_clip(desk: DeskContext, count: int) -> None:
    score = judge(desk, living()[:count])
    assert finding(score, "integrity").verdict is Verdict.REJECT
    assert score.points <= 20


def test_one_black_frame_fails_and_is_named(desk: DeskContext) -> None:
    frames = living()
    frames[13] = 2
    score = judge(desk, frames)
    assert (finding(score, "black").verdict, finding(score, "black").frame) == (Verdict.FAIL, 13)
    assert "1 of 20 frames are black" in finding(score, "black").reason
    assert score.points <= 49


def test_a_black_clip_is_rejected_although_a_black_photo_equals_it(desk: DeskContext) -> None:
    black = np.zeros((20, 40, 50, 3), np.uint8)
    score = judge(desk, black, Image(black[0]))
    assert score.measures["max_diff"] == 0
    assert (score.verdict, score.label) == (Verdict.REJECT, "REJECT")


def test_a_frame_of_one_colour_is_blank(desk: DeskContext) -> None:
    frames = living()
    frames[4] = (200, 180, 160)
    score = judge(desk, frames)
    assert (finding(score, "blank").verdict, finding(score, "blank").frame) == (Verdict.FAIL, 4)
    assert finding(score, "black").verdict is Verdict.PASS


@pytest.mark.parametrize(("repeated", "verdict"), [(3, Verdict.PASS), (5, Verdict.WARN), (10, Verdict.FAIL)])
def test_repeated_frames_are_counted(desk: DeskContext, repeated: int, verdict: Verdict) -> None:
    frames = living(21)
    frames[7 : 7 + repeated] = frames[6]
    found = finding(judge(desk, frames), "frozen")
    assert (found.verdict, found.value, found.frame) == (verdict, repeated / 20, 7)


def test_a_frozen_clip_is_rejected(desk: DeskContext) -> None:
    frames = np.repeat(living(1), 12, axis=0)
    score = judge(desk, frames)
    assert finding(score, "frozen").verdict is Verdict.REJECT
    assert score.measures["mean_diff"] < 3  # the pixel difference alone calls it excellent


def test_without_a_photo_fidelity_is_absent_and_said_to_be(desk: DeskContext) -> None:
    score = judge(desk, living(), None)
    assert "fidelity" not in {found.detector for found in score.findings}
    assert score.checkpoints == ()
    assert score.label == "OK"
    assert desk.warnings == ["no image was given, so fidelity was not measured"]


def test_points_fall_as_the_difference_grows(desk: DeskContext) -> None:
    points = [
        judge(desk, np.stack([shifted(levels), shifted(levels + 1)]), GREY, blank_below=0).points
        for levels in (1, 5, 12, 19, 25, 40)
    ]
    assert points == sorted(points, reverse=True)
    assert points[0] == pytest.approx(100 - 100 * 1.5 / 255)
    assert points[4:] == [74, 49]


def test_thresholds_can_be_tuned(desk: DeskContext) -> None:
    frames = np.stack([shifted(40), shifted(41)])
    assert judge(desk, frames, GREY, blank_below=0, ok_below=50, warn_below=60).verdict is Verdict.PASS


@pytest.mark.parametrize(("count", "places"), [(2, [0, 1]), (16, [0, 4, 8, 12, 15]), (49, [0, 12, 24, 36, 48])])
def test_checkpoints_are_the_quarters(desk: DeskContext, count: int, places: list[int]) -> None:
    assert [checkpoint.frame for checkpoint in judge(desk, living(count)).checkpoints] == places


def test_read_only_and_strided_frames_are_judged(desk: DeskContext) -> None:
    frames = living()
    frames.flags.writeable = False
    assert judge(desk, frames[:, ::2, ::2]).verdict is Verdict.PASS


def test_the_score_survives_json(desk: DeskContext) -> None:
    import json

    assert json.loads(json.dumps(judge(desk, living()).as_json()))["verdict"] == "pass"


def test_judging_can_be_cancelled(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        judge(DeskContext(tmp_path, cancel_after=1), living())


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"ok_below": 30, "warn_below": 20}, "warn_below"),
        ({"frozen_warn": 0.5, "frozen_fail": 0.4}, "frozen_fail"),
        ({"fps": "fast"}, "fps"),
    ],
)
def test_contradictory_thresholds_are_refused(params: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Fidelity.plan(Fidelity.Params.model_validate(params))
    assert caught.value.field == field
