"""Faces in the judges: whose face it is at the checkpoints, where to look, and a picture that must show one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from deployments.judge.image import Image as ImageJudge
from deployments.judge.video import Video
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.media import Clip, Image, Pixels
from serve_app.core.score import Finding, Score, Verdict
from serve_app.graph.plan import compile_plan, deployment_of
from serve_app.graph.spec import parse_pipeline
from tests.deployments.desk import DeskContext
from tests.deployments.tiny_faces import person, scene, write_detector, write_recognizer
from tests.metrics.pictures import subject

COUNT = 9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("faces")
    return {
        "face_detector": write_detector(root / "yunet.onnx"),
        "face_recognizer": write_recognizer(root / "sface.onnx"),
    }


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def film(until: int = COUNT, number: int = 8, is_lost: bool = False) -> Pixels:
    """Return frames of person 1, of whom frame ``until`` on shows ``number`` instead, or nobody."""
    frames = [scene(person(1), left=76, top=44) for _ in range(until)]
    frames += [scene(None if is_lost else person(number), left=76, top=44) for _ in range(COUNT - until)]
    rng = np.random.default_rng(0)
    return np.stack([np.clip(frame + rng.normal(0, 1, frame.shape), 0, 255).astype(np.uint8) for frame in frames])


def judge(desk: DeskContext, frames: Pixels, weights: dict[str, str], **params: object) -> Score:
    stage = Video()
    stage.load(Video.Weights.model_validate(weights), desk)
    asked = Video.Params.model_validate({"null_clips": 0, **params})
    return stage.run(asked, clip=Clip(frames, Fraction(24), "test"), image=Image(scene(person(1), left=76, top=44)))


def named(score: Score, unit: str) -> list[Finding]:
    return [found for found in score.findings if found.detector == "identity" and found.unit == unit]


def test_the_same_person_is_known_at_every_checkpoint(desk: DeskContext, files: dict[str, str]) -> None:
    score = judge(desk, film(), files)
    assert desk.notes["region"] == "faces"
    assert {name for name in score.measures if name.startswith("face_at_")} == {
        f"face_at_{at}" for at in (0, 2, 4, 6, 8)
    }
    assert score.measures["face"] > 0.45
    assert score.measures["faces_lost"] == 0


def test_somebody_elses_face_fails_from_the_checkpoint_that_shows_it(desk: DeskContext, files: dict[str, str]) -> None:
    off = {f"{name}_{word}": None for name in ("cut", "torn") for word in ("warn", "fail")}
    score = judge(desk, film(until=3), files, **off, lost_reject=None)
    (found,) = named(score, "cosine")
    assert found.verdict is Verdict.FAIL
    assert found.frame == 4
    assert found.fail_at == 0.363
    assert score.measures["face"] < 0.363 < score.measures["face_at_2"]


def test_a_face_that_is_gone_late_is_a_warning(desk: DeskContext, files: dict[str, str]) -> None:
    off = {f"{name}_{word}": None for name in ("cut", "torn") for word in ("warn", "fail")}
    score = judge(desk, film(until=4, is_lost=True), files, **off, lost_reject=None)
    (found,) = named(score, "share")
    assert (found.verdict, found.value) == (Verdict.WARN, 1.0)
    assert "face" not in score.measures


def test_without_a_recogniser_the_face_is_only_where_to_look(desk: DeskContext, files: dict[str, str]) -> None:
    score = judge(desk, film(), {"face_detector": files["face_detector"]})
    assert desk.notes["region"] == "faces"
    assert "face" not in score.measures


def test_without_a_face_in_it_the_box_or_the_frame_is_looked_at(desk: DeskContext, files: dict[str, str]) -> None:
    stage = Video()
    stage.load(Video.Weights.model_validate(files), desk)
    clip, image = Clip(np.stack([scene(None)] * 3), Fraction(24), "test"), Image(scene(None))
    stage.run(Video.Params(null_clips=0, face_box=(0.2, 0.2, 0.5, 0.5)), clip=clip, image=image)
    assert desk.notes["region"] == "face_box"
    stage.run(Video.Params(null_clips=0), clip=clip, image=image)
    assert desk.notes["region"] == "frame"


def test_a_null_that_was_prepared_is_for_the_face_that_is_found_again(desk: DeskContext, files: dict[str, str]) -> None:
    stage, image = Video(), Image(scene(person(1), left=76, top=44))
    stage.load(Video.Weights.model_validate(files), desk)
    stage.prepare(Video.Params(null_clips=1), image=image)
    stage.run(Video.Params(null_clips=1), clip=Clip(film(), Fraction(24), "test"), image=image)
    assert desk.notes["null"] == "known"


def test_a_picture_without_a_face_is_refused_where_one_is_needed(desk: DeskContext, files: dict[str, str]) -> None:
    nobody = Image(scene(None))
    video, still = Video(), ImageJudge()
    video.load(Video.Weights.model_validate(files), desk)
    still.load(ImageJudge.Weights.model_validate(files), desk)
    params = Video.Params(needs_face=True, null_clips=0)
    with pytest.raises(InvalidInput, match="image: no face is found"):
        video.run(params, clip=Clip(film(), Fraction(24), "test"), image=nobody)
    with pytest.raises(InvalidInput, match="image: no face is found"):
        video.prepare(params, image=nobody)
    with pytest.raises(InvalidInput, match="image: no face is found"):
        still.run(ImageJudge.Params(needs_face=True), image=nobody)
    assert still.run(ImageJudge.Params(needs_face=True), image=Image(scene(person(1)))).judge == "image"


@pytest.mark.parametrize(("use", "stage"), [("judge.image", ImageJudge), ("judge.video", Video)])
def test_needing_a_face_without_a_detector_is_found_at_plan_time(use: str, stage: type) -> None:
    port = {"judge.image": {"image": "$image"}, "judge.video": {"clip": "$clip", "image": "$image"}}[use]
    spec = {
        "version": 1,
        "name": "p",
        "inputs": {name[1:]: name[1:] for name in port.values()},
        "nodes": {"judge": {"use": use, "with": {"needs_face": True}, "take": port}},
        "outputs": {"score": "judge"},
    }
    with pytest.raises(Misconfigured, match=r"weights.face_detector: needs_face is set"):
        compile_plan(parse_pipeline(spec, "test"), {use: deployment_of(use, use, stage, {})})


def test_a_recogniser_without_a_detector_is_refused() -> None:
    with pytest.raises(ValidationError, match="face_recognizer needs face_detector"):
        Video.Weights(face_recognizer="sface.onnx")


def test_a_soft_face_before_a_sharp_background_is_seen_where_it_is_pointed_at(desk: DeskContext) -> None:
    portrait, stage = subject("face:11"), ImageJudge()
    assert portrait.face is not None
    x, y, w, h = portrait.face
    rows, columns = slice(int(y * 360), int((y + h) * 360)), slice(int(x * 640), int((x + w) * 640))
    soft = portrait.pixels.copy()
    soft[rows, columns] = cv2.GaussianBlur(portrait.pixels, (0, 0), 2.5)[rows, columns]
    stage.load(ImageJudge.Weights(), desk)
    pointed, blind = ImageJudge.Params(face_box=portrait.face, blur_fail=None), ImageJudge.Params(blur_fail=None)

    def blur(pixels: Pixels, params: ImageJudge.Params) -> Verdict:
        score = stage.run(params, image=Image(pixels))
        return next(found.verdict for found in score.findings if found.detector == "blur")

    assert blur(soft, pointed) is Verdict.WARN
    assert blur(portrait.pixels, pointed) is Verdict.PASS
    assert blur(soft, blind) is Verdict.PASS
