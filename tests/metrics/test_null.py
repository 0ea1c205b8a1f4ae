"""The yardstick of one picture: what it is made of, remembered, and how it moves the limits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deployments.metrics.findings import Reading
from deployments.metrics.limits import ClipLimits
from deployments.metrics.null import MEASURES, Null, null_of
from deployments.metrics.nulls import Nulls
from deployments.metrics.region import region_for
from deployments.metrics.rules import limit_given, motion_findings
from deployments.metrics.scale import Grey, grey_of
from serve_app.core.score import Verdict
from tests.metrics.pictures import subject

SMALL: Grey = np.asarray(cv2.resize(grey_of(subject("face:1").pixels), (160, 90), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def null() -> Null:
    return null_of(SMALL, region_for((90, 160), None), 4)


def test_it_measures_what_legitimate_motion_does(null: Null) -> None:
    assert set(null.expected) == set(MEASURES)
    assert all(np.isfinite(value) for value in null.expected.values())
    assert null.expected["bent"] > 0


def test_the_same_picture_gives_the_same_null(null: Null) -> None:
    assert null_of(SMALL, region_for((90, 160), None), 4) == null


def test_it_keeps_the_last_pictures_alone() -> None:
    nulls = Nulls(most=2)
    for shade in (0, 1, 2):
        nulls.of(SMALL + np.uint8(shade), None, 1)
    nulls.of(SMALL + np.uint8(2), None, 1)
    assert nulls.was_known
    nulls.of(SMALL, None, 1)
    assert not nulls.was_known


def test_face_and_number_of_clips_are_part_of_the_key() -> None:
    nulls = Nulls()
    nulls.of(SMALL, None, 1)
    nulls.of(SMALL, (0.2, 0.2, 0.5, 0.5), 1)
    assert not nulls.was_known
    assert nulls.of(SMALL, None, 0) is None


def test_it_moves_a_warning_within_half_and_twice(null: Null) -> None:
    limits = ClipLimits()
    assert limits.bent_warn
    for expected, ratio in ((0.0, 0.5), (1000.0, 2.0)):
        moved = limit_given("bent", limits, Null({**null.expected, "bent": expected}, 4))
        assert moved.warn == pytest.approx(ratio * limits.bent_warn)
        assert (moved.fail or 0) >= (moved.warn or 0)


def test_it_never_makes_a_failure_stricter(null: Null) -> None:
    limits = ClipLimits()
    assert limit_given("bent", limits, Null({**null.expected, "bent": 0.01}, 4)).fail == limits.bent_fail
    assert limit_given("bent", limits, Null({**null.expected, "bent": 3.0}, 4)).fail == 12


def test_a_limit_that_is_off_stays_off(null: Null) -> None:
    limit = limit_given("bent", ClipLimits(bent_warn=None, bent_fail=None), null)
    assert (limit.warn, limit.fail) == (None, None)


@pytest.mark.parametrize(("torn", "verdict"), [(0.1, Verdict.WARN), (0.3, Verdict.FAIL)])
def test_blur_is_not_taken_for_somebody_else_unless_it_is(torn: float, verdict: Verdict) -> None:
    readings = {"torn": Reading(torn, 3), "detail": Reading(2.0, 3)}
    found = {finding.detector: finding.verdict for finding in motion_findings(readings, ClipLimits(), None)}
    assert found == {"identity": verdict, "detail": Verdict.FAIL}
