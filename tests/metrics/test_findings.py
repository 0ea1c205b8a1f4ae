"""From numbers to words."""

from __future__ import annotations

import pytest

from deployments.judge.image import Image
from deployments.metrics.findings import Limit, Reading, Rule, capped, excused, finding, label_of, worst_of_each
from deployments.metrics.limits import ClipLimits, StillLimits, check_order, limit_of
from deployments.metrics.rules import FRAME_RULES, MOTION_RULES
from serve_app.core.score import Finding, Verdict

RULE = Rule("noise", "noise", "levels", "too much: {value:.1f} at {frame}", "fine: {value:.1f}")
LIMIT = Limit(3.0, 6.0, 12.0)


def said(detector: str, verdict: Verdict) -> Finding:
    return Finding(detector, verdict, 1.0, "", "because")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(3.0, Verdict.PASS), (3.1, Verdict.WARN), (6.0, Verdict.WARN), (6.1, Verdict.FAIL), (12.1, Verdict.REJECT)],
)
def test_a_limit_is_passed_beyond_it(value: float, verdict: Verdict) -> None:
    assert LIMIT.verdict(value) is verdict


def test_a_floor_is_passed_below_it() -> None:
    floor = Limit(3.0, 1.0, 0.2, is_floor=True)
    assert [floor.verdict(value) for value in (3.0, 2.9, 0.9, 0.1)] == [0, 1, 2, 3]


def test_a_limit_of_none_never_fires() -> None:
    assert Limit(None, None).verdict(1e9) is Verdict.PASS


def test_a_finding_says_what_was_measured_and_where() -> None:
    assert finding(RULE, Reading(7.26, 4), LIMIT) == Finding(
        "noise", Verdict.FAIL, 7.26, "levels", "too much: 7.3 at 4", 4, 3.0, 6.0
    )
    assert finding(RULE, Reading(1.0), LIMIT).reason == "fine: 1.0"


def test_the_worst_of_a_detector_is_kept_in_its_first_place() -> None:
    some = [said("a", Verdict.PASS), said("b", Verdict.WARN), said("a", Verdict.FAIL)]
    assert [(found.detector, found.verdict) for found in worst_of_each(some)] == [("a", 2), ("b", 1)]


def test_what_the_picture_has_itself_counts_one_step_less() -> None:
    assert excused(said("noise", Verdict.FAIL)).verdict is Verdict.WARN
    assert excused(said("noise", Verdict.WARN)).verdict is Verdict.PASS
    assert excused(said("noise", Verdict.REJECT)).verdict is Verdict.REJECT
    assert excused(said("noise", Verdict.PASS)).reason == "because"


@pytest.mark.parametrize(
    ("detector", "verdict", "points"),
    [("blur", 0, 90), ("blur", 1, 74), ("blur", 2, 49), ("blur", 3, 20), ("black", 3, 0), ("integrity", 3, 0)],
)
def test_points_are_capped(detector: str, verdict: int, points: float) -> None:
    assert capped(90.0, [said(detector, Verdict(verdict))]) == points


@pytest.mark.parametrize(("points", "label"), [(85, "EXCELLENT"), (84.9, "GOOD"), (69, "ACCEPTABLE")])
def test_a_pass_has_tiers(points: float, label: str) -> None:
    assert label_of(Verdict.PASS, points) == label
    assert label_of(Verdict.FAIL, points) == "FAIL"


def test_every_rule_has_its_limits_and_its_sentences() -> None:
    for rule in (*FRAME_RULES, *MOTION_RULES):
        limits = [limit_of(params, rule.measure) for params in (ClipLimits(), Image.Params())]
        assert any(at is not None for limit in limits for at in (limit.warn, limit.fail, limit.reject)), rule
        assert rule.bad.format(value=1.5, frame=7) != rule.good.format(value=1.5, frame=7)


def test_the_defaults_are_in_order() -> None:
    check_order(StillLimits())
    check_order(ClipLimits())
