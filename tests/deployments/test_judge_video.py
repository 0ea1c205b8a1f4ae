"""The judge of clips, through the stage as it is served: what it sees, names and lets pass, and that it always
answers."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from deployments.encode.sheet import ContactSheet
from deployments.gate.verdict import VerdictGate
from deployments.judge.video import Video
from serve_app.core.errors import Cancelled, InvalidInput, Rejected
from serve_app.core.media import Clip, Image, Pixels
from serve_app.core.score import Finding, Score, Verdict
from tests.deployments.desk import DeskContext
from tests.metrics.clips import FAST, FPS, LEGIT, SLOW, Labelled, clip
from tests.metrics.expected import is_named, is_placed
from tests.metrics.pictures import subject

PEOPLE_AND_PLACES = ("face:22", "scene:21")
"""Of the `test` set; `bench.judge_confusion` judges all of it."""
DETECTORS = {
    "integrity", "black", "blank", "exposure", "blur", "noise", "blocks", "banding",
    "frozen", "stutter", "flicker", "identity", "first_frame", "detail", "drift", "wobble",
}  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def loaded(desk: DeskContext) -> Video:
    stage = Video()
    stage.load(Video.Weights(), desk)
    return stage


def judge(desk: DeskContext, frames: Pixels, image: Pixels | None = None, /, **params: object) -> Score:
    asked = Video.Params.model_validate({"null_clips": 0, **params})
    film = Clip(frames, Fraction(FPS), "test")
    return loaded(desk).run(asked, clip=film, image=None if image is None else Image(image))


def finding(score: Score, detector: str) -> Finding:
    return next(found for found in score.findings if found.detector == detector)


class Bench:
    """Judges every kind of clip of unseen pictures with the null, each once and when it is asked for."""

    def __init__(self, desk: DeskContext) -> None:
        self._stage = loaded(desk)
        self._known: dict[tuple[str, str], tuple[Labelled, Score]] = {}

    def judged(self, name: str, kind: str) -> tuple[Labelled, Score]:
        """Return (the clip, its first frame alone, to save memory; its score)."""
        if (name, kind) not in self._known:
            made = clip("test", name, kind)
            params = Video.Params(face_box=made.subject.face)
            film = Clip(made.frames, Fraction(FPS), kind)
            score = self._stage.run(params, clip=film, image=Image(made.subject.pixels))
            self._known[name, kind] = (replace(made, frames=made.frames[:1].copy()), score)
        return self._known[name, kind]

    def all_of(self, kinds: tuple[str, ...]) -> list[tuple[Labelled, Score]]:
        """Return what was judged of ``kinds``, of every picture."""
        return [self.judged(name, kind) for name in PEOPLE_AND_PLACES for kind in kinds]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(DeskContext(tmp_path_factory.mktemp("desk")))


@pytest.fixture(scope="module")
def good() -> Labelled:
    return clip("train", "face:1", "pan")


@pytest.mark.slow
@pytest.mark.parametrize("name", PEOPLE_AND_PLACES)
@pytest.mark.parametrize("kind", LEGIT)
def test_legitimate_motion_is_not_failed(bench: Bench, name: str, kind: str) -> None:
    _, score = bench.judged(name, kind)
    assert score.verdict < Verdict.FAIL, score.worst


@pytest.mark.slow
def test_legitimate_motion_is_rarely_flagged_at_all(bench: Bench) -> None:
    some = bench.all_of(LEGIT)
    flagged = [(made.subject.name, made.kind) for made, score in some if score.verdict is not Verdict.PASS]
    assert len(flagged) <= 0.12 * len(some), flagged


@pytest.mark.slow
@pytest.mark.parametrize("name", PEOPLE_AND_PLACES)
@pytest.mark.parametrize("kind", FAST)
def test_a_plain_failure_is_failed_named_and_placed(bench: Bench, name: str, kind: str) -> None:
    made, score = bench.judged(name, kind)
    assert score.verdict >= Verdict.FAIL
    assert is_named(made, score), score.worst
    assert is_placed(made, score), (made.shows, score.worst)
    assert score.points <= 49


@pytest.mark.slow
def test_a_creeping_failure_is_flagged(bench: Bench) -> None:
    some = bench.all_of(SLOW)
    missed = [(made.subject.name, made.kind) for made, score in some if score.verdict is Verdict.PASS]
    assert len(missed) <= 0.15 * len(some), missed


@pytest.mark.slow
def test_the_pixel_difference_is_reported_and_decides_nothing(bench: Bench) -> None:
    _, score = bench.judged("scene:21", "pan")
    assert [checkpoint.frame for checkpoint in score.checkpoints] == [0, 6, 12, 18, 24]
    assert score.measures["pixel_diff_max"] == max(checkpoint.value for checkpoint in score.checkpoints)
    assert score.measures["seed_score"] >= 50
    _, frozen = bench.judged("face:22", "frozen")
    assert {checkpoint.label for checkpoint in frozen.checkpoints} == {"OK"}
    assert frozen.verdict >= Verdict.FAIL


@pytest.mark.slow
def test_every_finding_says_value_unit_and_reason(bench: Bench) -> None:
    for _, score in bench.all_of((*LEGIT, *FAST, *SLOW)):
        # terraces are not looked for where there are blocks
        assert DETECTORS - {"banding"} <= {found.detector for found in score.findings} <= DETECTORS
        assert all(found.reason and found.unit and np.isfinite(found.value) for found in score.findings)
        assert 0 <= score.points <= 100
        json.dumps(score.as_json(), allow_nan=False)


@pytest.mark.slow
def test_gate_and_sheet_take_the_score_as_it_is(bench: Bench, desk: DeskContext) -> None:
    _, score = bench.judged("face:22", "swap")
    film = Clip(clip("test", "face:22", "swap").frames, Fraction(FPS), "test")
    gate, sheet = VerdictGate(), ContactSheet()
    gate.load(VerdictGate.Weights(), desk)
    sheet.load(ContactSheet.Weights(), desk)
    with pytest.raises(Rejected, match="identity"):
        gate.run(VerdictGate.Params(), clip=film, score=score)
    assert sheet.run(ContactSheet.Params(), clip=film, score=score).facts["verdict"] == "fail"


def test_a_picture_is_learnt_once(desk: DeskContext, good: Labelled) -> None:
    stage = loaded(desk)
    film, image = Clip(good.frames[:9], Fraction(FPS), "test"), Image(good.subject.pixels)
    first = stage.run(Video.Params(null_clips=1), clip=film, image=image)
    known = stage.run(Video.Params(null_clips=1), clip=film, image=image)
    assert first == known
    assert {name for name in first.measures if name.startswith("null_")} == {
        "null_bent", "null_changed", "null_torn", "null_detail", "null_wobble",
    }  # fmt: skip
    assert desk.notes["null"] == "known"


def test_the_null_can_be_learnt_before_there_is_a_clip(desk: DeskContext, good: Labelled) -> None:
    stage, image = loaded(desk), Image(good.subject.pixels)
    stage.prepare(Video.Params(null_clips=1, height=360, width=640), image=image)
    assert desk.notes == {}, "the desk belongs to the call that is going on"
    stage.run(Video.Params(null_clips=1), clip=Clip(good.frames[:9], Fraction(FPS), "test"), image=image)
    assert desk.notes["null"] == "known"
    assert desk.notes["null_wait_s"] < 0.1


def test_a_null_that_another_replica_learnt_is_known(desk: DeskContext, good: Labelled) -> None:
    image = Image(good.subject.pixels)
    loaded(desk).prepare(Video.Params(null_clips=1, height=360, width=640), image=image)
    loaded(desk).run(Video.Params(null_clips=1), clip=Clip(good.frames[:9], Fraction(FPS), "test"), image=image)
    assert desk.notes["null"] == "known"


def toned(pixels: Pixels, gain: float, lift: float) -> Pixels:
    return np.asarray(np.clip(pixels * np.float32(gain) + np.float32(lift), 0, 255), np.uint8)


@pytest.mark.parametrize(("gain", "lift"), [(0.05, 0.0), (0.03, 100.0), (0.04, 240.0)])
def test_a_picture_that_is_truly_dark_or_flat_may_become_a_clip(
    desk: DeskContext, good: Labelled, gain: float, lift: float
) -> None:
    frames, photo = toned(good.frames, gain, lift), toned(good.subject.pixels, gain, lift)
    score = judge(desk, frames, photo, null_clips=3)
    assert score.verdict <= Verdict.WARN, score.worst
    assert any("the picture it was made from" in found.reason for found in score.findings)
    assert judge(desk, frames, good.subject.pixels).verdict is Verdict.REJECT, "of another picture it would be nothing"


def test_a_dark_picture_does_not_excuse_frames_with_nothing_on_them(desk: DeskContext, good: Labelled) -> None:
    frames, photo = toned(good.frames, 0.05, 0), toned(good.subject.pixels, 0.05, 0)
    frames[10] = 0
    assert finding(judge(desk, frames, photo), "black").verdict is Verdict.FAIL
    assert finding(judge(desk, frames, photo), "black").frame == 10
    frames[5:] = 0
    assert judge(desk, frames, photo).verdict is Verdict.REJECT


def test_without_a_photo_the_first_frame_is_the_reference(desk: DeskContext, good: Labelled) -> None:
    score = judge(desk, good.frames)
    assert score.verdict is Verdict.PASS
    assert "first_frame" not in {found.detector for found in score.findings}
    assert score.checkpoints == ()
    assert desk.warnings == ["no image was given, so the clip was compared with its own first frame"]


def test_where_it_looked_is_noted(desk: DeskContext, good: Labelled) -> None:
    judge(desk, good.frames[:4], good.subject.pixels, face_box=good.subject.face)
    assert desk.notes["region"] == "face_box"
    judge(desk, good.frames[:4], good.subject.pixels)
    assert desk.notes["region"] == "frame"


def test_another_photo_is_not_where_the_clip_began(desk: DeskContext, good: Labelled) -> None:
    score = judge(desk, good.frames, subject("scene:1").pixels)
    assert finding(score, "first_frame").verdict is Verdict.FAIL
    assert score.verdict is Verdict.REJECT


@pytest.mark.parametrize(
    ("asked", "words", "verdict"),
    [
        ({"frames": 26}, "frames is 25, not 26", Verdict.WARN),
        ({"frames": 49}, "frames is 25, not 49", Verdict.FAIL),
        ({"width": 1280}, "width is 640, not 1280", Verdict.FAIL),
        ({"height": 720}, "height is 360, not 720", Verdict.FAIL),
        ({"fps": 25}, "fps is 24, not 25", Verdict.FAIL),
    ],
)
def test_a_clip_that_was_not_asked_for(
    desk: DeskContext, good: Labelled, asked: dict[str, int], words: str, verdict: Verdict
) -> None:
    found = finding(judge(desk, good.frames, good.subject.pixels, **asked), "integrity")
    assert found.verdict is verdict
    assert words in found.reason


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 40, 90), (128, 128, 128)])
def test_a_clip_of_one_colour_earns_nothing(desk: DeskContext, colour: tuple[int, int, int]) -> None:
    frames = np.full((12, 90, 160, 3), colour, np.uint8)
    score = judge(desk, frames, frames[0])
    assert (score.verdict, score.points) == (Verdict.REJECT, 0)


def test_noise_and_checkerboards_earn_less_than_50(desk: DeskContext) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (12, 90, 160, 3)).astype(np.uint8)
    board = np.indices((90, 160)).sum(axis=0) // 8 % 2 * 255
    boards = np.repeat(np.roll(board, 1)[None, ..., None], 3, axis=3).repeat(12, axis=0).astype(np.uint8)
    for index, frame in enumerate(boards):
        boards[index] = np.roll(frame, index, axis=1)
    assert judge(desk, noise, noise[0]).points < 50
    assert judge(desk, boards, boards[0]).points < 50


@pytest.mark.parametrize(
    "shape", [(2, 1, 1), (2, 360, 640), (3, 2, 2), (5, 17, 31), (9, 7, 500), (4, 101, 99), (2, 64, 1), (6, 1080, 8)]
)
def test_any_clip_gets_a_verdict(desk: DeskContext, shape: tuple[int, int, int]) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    score = judge(desk, frames, frames[0], null_clips=1, face_box=(0.2, 0.2, 0.5, 0.5))
    assert np.isfinite([score.points, *score.measures.values()]).all()
    assert score.points < 50


@pytest.mark.parametrize("shape", [(0, 40, 50), (1, 40, 50), (5, 0, 50), (5, 40, 0)])
def test_fewer_than_two_frames_or_no_pixels_are_no_clip(desk: DeskContext, shape: tuple[int, int, int]) -> None:
    score = judge(desk, np.full((*shape, 3), 90, np.uint8), subject("face:1").pixels)
    assert (score.verdict, score.points) == (Verdict.REJECT, 0)
    assert score.worst is not None
    assert score.worst.detector == "integrity"


def test_grey_read_only_and_strided_frames_are_judged(desk: DeskContext, good: Labelled) -> None:
    luma = good.frames @ np.array([0.299, 0.587, 0.114])
    grey = np.repeat(luma[..., None], 3, axis=3).round().astype(np.uint8)
    grey.flags.writeable = False
    assert judge(desk, grey[:, :, ::-1], good.subject.pixels[:, ::-1]).verdict is Verdict.PASS


def test_a_flaw_of_the_photo_is_not_the_clips_alone(desk: DeskContext, good: Labelled) -> None:
    dark, photo = (good.frames * 0.42).astype(np.uint8), (good.subject.pixels * 0.42).astype(np.uint8)
    of_dark, of_bright = judge(desk, dark, photo), judge(desk, dark, good.subject.pixels)
    assert finding(of_dark, "exposure").verdict < finding(of_bright, "exposure").verdict
    assert "the picture it was made from" in finding(of_dark, "exposure").reason


def test_limits_can_be_tuned_and_switched_off(desk: DeskContext, good: Labelled) -> None:
    still = np.repeat(good.frames[:1], 8, axis=0)
    off = {"frozen_warn": None, "frozen_fail": None, "frozen_reject": None, "motion_warn": None}
    assert finding(judge(desk, still, good.frames[0]), "frozen").verdict is Verdict.REJECT
    assert finding(judge(desk, still, good.frames[0], **off), "frozen").verdict is Verdict.PASS


def test_judging_can_be_cancelled(tmp_path: Path, good: Labelled) -> None:
    with pytest.raises(Cancelled):
        judge(DeskContext(tmp_path, cancel_after=2), good.frames, good.subject.pixels)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"noise_warn": 9}, "noise_fail"),
        ({"blur_fail": 5}, "blur_fail"),
        ({"frozen_fail": 0.1}, "frozen_fail"),
        ({"noise_reject": 5}, "noise_reject"),
        ({"fps": "fast"}, "fps"),
    ],
)
def test_contradictory_limits_are_refused(params: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Video.plan(Video.Params.model_validate(params))
    assert caught.value.field == field


@pytest.mark.parametrize("box", [(0.5, 0.5, 0.6, 0.2), (0, 0, 0, 1), (-0.1, 0, 0.5, 0.5), (0, 0, 1, 1.2)])
def test_a_face_lies_inside_the_frame(box: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="lies inside it"):
        Video.Params.model_validate({"face_box": box})
