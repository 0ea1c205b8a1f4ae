"""What finishing adds over time, on enlarged clips: plain and learned enlargement pass, added flicker does not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from deployments.judge.video import Video
from deployments.metrics.shimmer import shimmer_readings
from serve_app.core.media import Clip, Image, Pixels
from serve_app.core.score import Score, Verdict
from tests.deployments.desk import DeskContext
from tests.metrics.pictures import subject

COUNT, HEIGHT, WIDTH = 9, 180, 320
Films = tuple[Pixels, Pixels]


@pytest.fixture(scope="module")
def films() -> Films:
    """Return (a draft: a slow pan with grain, the same at twice the size)."""
    rng, wide = np.random.default_rng(0), subject("face:1").pixels
    draft = []
    for index in range(COUNT):
        shift = np.array([[0.5, 0, -0.7 * index], [0, 0.5, -0.3 * index]], np.float32)
        moved = cv2.warpAffine(wide, shift, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101)
        draft.append(np.clip(moved + rng.normal(0, 1, moved.shape), 0, 255).astype(np.uint8))
    large = [cv2.resize(frame, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_LANCZOS4) for frame in draft]
    return np.stack(draft), np.stack(large).astype(np.uint8)


def gains(finished: Pixels, draft: Pixels) -> tuple[float, float]:
    found = shimmer_readings(finished, draft)
    return found["flicker_gain"].value, found["shimmer_gain"].value


def test_plain_enlargement_adds_nothing(films: Films) -> None:
    assert all(0.8 < gain < 1.3 for gain in gains(films[1], films[0]))
    assert gains(films[0], films[0]) == (1.0, 1.0)


def test_light_that_changes_by_a_hundredth_is_flicker_and_no_shimmer(films: Films) -> None:
    light = 1 + 0.015 * np.where(np.arange(COUNT) % 2, 1, -1)
    flickering = np.clip(films[1] * light[:, None, None, None], 0, 255).astype(np.uint8)
    flicker, shimmer = gains(flickering, films[0])
    assert flicker > 1.75
    assert shimmer < 1.6


def test_detail_that_changes_from_frame_to_frame_is_shimmer(films: Films) -> None:
    rng = np.random.default_rng(1)
    shimmering = np.clip(films[1] + rng.normal(0, 3, films[1].shape), 0, 255).astype(np.uint8)
    assert gains(shimmering, films[0])[1] > 1.75


def test_what_stands_still_on_both_sides_gains_nothing(films: Films) -> None:
    draft, large = (np.repeat(frames[:1], COUNT, axis=0) for frames in films)
    assert gains(large, draft) == (1.0, 1.0)


def test_the_frame_where_it_flickers_most_is_named(films: Films) -> None:
    flashing = films[1].copy()
    flashing[5] = np.clip(flashing[5] * 1.1, 0, 255)
    assert shimmer_readings(flashing, films[0])["flicker_gain"].frame in (5, 6)


def judged(tmp_path: Path, finished: Pixels, draft: Pixels) -> tuple[Score, DeskContext]:
    desk, stage = DeskContext(tmp_path), Video()
    stage.load(Video.Weights(), desk)
    clip, film = (Clip(frames, Fraction(24), "test") for frames in (finished, draft))
    photo = Image(np.ascontiguousarray(finished[0]))
    return stage.run(Video.Params(null_clips=0), clip=clip, image=photo, draft=film), desk


def test_the_judge_fails_a_clip_that_finishing_made_flicker(tmp_path: Path, films: Films) -> None:
    light = 1 + 0.012 * np.where(np.arange(COUNT) % 2, 1, -1)
    flickering = np.clip(films[1] * light[:, None, None, None], 0, 255).astype(np.uint8)
    good, _ = judged(tmp_path, films[1], films[0])
    bad, _ = judged(tmp_path, flickering, films[0])
    found = {score.points: {each.detector: each for each in score.findings}["flicker"] for score in (good, bad)}
    assert found[good.points].verdict is Verdict.PASS
    assert found[bad.points].verdict is Verdict.FAIL
    assert "draft" in found[bad.points].reason
    assert bad.measures["flicker_gain"] > 1.75


def test_a_draft_of_another_length_is_not_compared_and_the_caller_told(tmp_path: Path, films: Films) -> None:
    score, desk = judged(tmp_path, films[1], films[0][:5])
    assert "flicker_gain" not in score.measures
    assert desk.warnings == ["the draft has 5 frames and the clip 9, so flicker was not measured against it"]
