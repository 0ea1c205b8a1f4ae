"""The judge of stills, through the stage as it is served."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from deployments.judge.image import Image as ImageJudge
from deployments.metrics.scale import grey_of
from deployments.metrics.still import laplacian_variance
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Image, Pixels
from serve_app.core.score import Finding, Score, Verdict
from tests.deployments.desk import DeskContext
from tests.metrics.pictures import TEST, subject

PAIRS = [(221.0, 95.0), (112.0, 90.0), (78.0, 85.0), (550.0, 100.0), (366.0, 95.0)]
RNG = np.random.default_rng(0)


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def judge(desk: DeskContext, pixels: Pixels, **params: object) -> Score:
    stage = ImageJudge()
    stage.load(ImageJudge.Weights(), desk)
    return stage.run(ImageJudge.Params.model_validate(params), image=Image(pixels))


def finding(score: Score, detector: str) -> Finding:
    return next(found for found in score.findings if found.detector == detector)


def grey_picture(luma: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Pixels:
    return np.repeat(np.clip(np.rint(luma), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def of_sharpness(sharpness: float) -> Pixels:
    """Return a 1024x1024 picture of that variance of the Laplacian: soft light of great contrast, textured to
    measure."""
    texture = cv2.GaussianBlur(np.random.default_rng(3).standard_normal((1024, 1024)), (0, 0), 1.4)
    light = 125 + 90 * np.sin(np.linspace(0, 7, 1024))[:, None] * np.cos(np.linspace(0, 5, 1024))[None] ** 0
    low, high = 0.0, 400.0
    for _ in range(30):
        gain = (low + high) / 2
        picture = grey_picture(light + gain * texture)
        low, high = (low, gain) if laplacian_variance(grey_of(picture)) > sharpness else (gain, high)
    return grey_picture(light + low * texture)


@pytest.mark.parametrize(("sharpness", "points"), PAIRS)
def test_the_published_pairs_come_out_of_pictures(desk: DeskContext, sharpness: float, points: float) -> None:
    score = judge(desk, of_sharpness(sharpness))
    assert score.measures["sharpness"] == pytest.approx(sharpness, abs=2)
    assert (score.points, score.measures["seed_score"], score.verdict) == (points, points, Verdict.PASS)


BOARD = np.indices((512, 512)).sum(axis=0)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((512, 512, 3), np.uint8),
        np.full((512, 512, 3), 255, np.uint8),
        np.full((512, 512, 3), (180, 120, 60), np.uint8),
        RNG.integers(0, 256, (512, 512, 3)).astype(np.uint8),
        grey_picture((BOARD % 2 * 255).astype(float)),
        grey_picture((BOARD // 8 % 2 * 255).astype(float)),
        grey_picture((60 + BOARD // 37 % 2 * 130).astype(float)),
    ],
    ids=["black", "white", "one colour", "noise", "checkerboard 1", "checkerboard 8", "checkerboard 37, grey"],
)
def test_what_is_no_picture_earns_less_than_50(desk: DeskContext, pixels: Pixels) -> None:
    score = judge(desk, pixels)
    assert score.points < 50
    assert score.verdict >= Verdict.FAIL
    assert score.measures["seed_score"] >= 50  # the classic score calls every one of them acceptable


@pytest.mark.parametrize("name", TEST)
@pytest.mark.parametrize("blur", [1.5, 3.0])
@pytest.mark.parametrize("noise", [3, 8])
def test_blur_and_noise_never_beat_the_clean_picture(desk: DeskContext, name: str, blur: float, noise: float) -> None:
    clean = cv2.resize(subject(name).pixels, (1280, 720), interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(clean, (0, 0), blur)
    spoilt = np.clip(soft + RNG.normal(0, noise, soft.shape), 0, 255).astype(np.uint8)
    assert judge(desk, spoilt).points <= judge(desk, np.asarray(clean)).points


@pytest.mark.parametrize(
    ("detector", "spoil"),
    [
        ("noise", lambda p: np.clip(p + RNG.normal(0, 20, p.shape), 0, 255)),
        ("blur", lambda p: cv2.GaussianBlur(p, (0, 0), 4)),
        ("exposure", lambda p: p * 0.25),
        ("exposure", lambda p: 255 - (255 - p.astype(float)) * 0.2),
        ("banding", lambda p: p // 32 * 32 + 16),
        ("blocks", lambda p: cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 3])[1], 1)),
    ],
)
def test_each_flaw_is_named(desk: DeskContext, detector: str, spoil: object) -> None:
    clean = subject("scene:2").pixels
    assert finding(judge(desk, clean), detector).verdict <= finding(judge(desk, spoilt(clean, spoil)), detector).verdict
    assert finding(judge(desk, spoilt(clean, spoil)), detector).verdict >= Verdict.WARN


def spoilt(clean: Pixels, spoil: object) -> Pixels:
    assert callable(spoil)
    return np.asarray(spoil(clean), np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 5), (31, 33), (101, 257), (4096, 2)])
def test_any_size_gets_a_verdict(desk: DeskContext, shape: tuple[int, int]) -> None:
    score = judge(desk, RNG.integers(0, 256, (*shape, 3)).astype(np.uint8))
    assert np.isfinite([score.points, *score.measures.values()]).all()
    json.dumps(score.as_json(), allow_nan=False)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_no_pixels_are_no_picture(desk: DeskContext, shape: tuple[int, int]) -> None:
    score = judge(desk, np.zeros((*shape, 3), np.uint8))
    assert (score.verdict, score.points) == (Verdict.REJECT, 0)


def test_a_softness_that_the_points_tell_already_is_no_warning(desk: DeskContext) -> None:
    assert finding(judge(desk, of_sharpness(78.0)), "blur").verdict is Verdict.PASS
    assert finding(judge(desk, of_sharpness(78.0), blur_warn=100), "blur").verdict is Verdict.WARN


def test_limits_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        ImageJudge.plan(ImageJudge.Params(dark_warn=30))
    assert caught.value.field == "dark_fail"
