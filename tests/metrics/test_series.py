"""What was measured over time, as the stage hands it out."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from deployments.judge.video import Video
from serve_app.core.media import Clip, Image
from serve_app.core.score import Score, Series
from tests.deployments.desk import DeskContext
from tests.metrics.clips import FPS, FRAMES, clip


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Score, tuple[int, int]]:
    """Return the score of a clip in which another person appears, and the frames (first, last) where."""
    made = clip("validation", "face:11", "swap")
    stage = Video()
    stage.load(Video.Weights(), DeskContext(tmp_path_factory.mktemp("desk")))
    params = Video.Params(face_box=made.subject.face, null_clips=0)
    score = stage.run(params, clip=Clip(made.frames, Fraction(FPS), "test"), image=Image(made.subject.pixels))
    assert made.shows is not None
    return score, made.shows


def series(score: Score, measure: str) -> Series:
    return next(each for each in score.series if each.measure == measure)


def test_every_series_has_a_value_for_each_of_its_frames(swapped: tuple[Score, tuple[int, int]]) -> None:
    for each in swapped[0].series:
        assert len(each.frames) == len(each.values) > 0
        assert set(each.frames) <= set(range(FRAMES))


def test_the_curve_stands_out_where_the_finding_points(swapped: tuple[Score, tuple[int, int]]) -> None:
    score, (first, _) = swapped
    cut = series(score, "cut")
    worst = cut.frames[cut.values.index(max(cut.values))]
    assert abs(worst - first) <= 1
    assert cut.fail_at is not None
    assert max(cut.values) == pytest.approx(score.measures["cut"], rel=1e-3)
    assert max(cut.values) > cut.fail_at


@pytest.mark.parametrize(
    ("measure", "taken"), [("luma_min", min), ("contrast_min", min), ("motion", lambda values: sum(values) / 24)]
)
def test_a_measure_is_what_its_series_comes_to(
    swapped: tuple[Score, tuple[int, int]], measure: str, taken: object
) -> None:
    assert callable(taken)
    assert taken(series(swapped[0], measure).values) == pytest.approx(swapped[0].measures[measure], rel=1e-3)


def test_a_runs_report_does_without_them(swapped: tuple[Score, tuple[int, int]]) -> None:
    assert "series" not in swapped[0].as_json()
    json.dumps([vars(each) for each in swapped[0].series], allow_nan=False)
