"""From a size and a wish to an exact size: arithmetic alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.nets.sizing import Fitting, Target, fitted, inner_size, target_size

WHOLE_SIZE = {"width": None, "height": None}
SIDES = st.integers(2, 3000)


@pytest.mark.parametrize(
    ("asked", "height", "width"),
    [
        (WHOLE_SIZE, 1408, 2560),
        ({"width": 1920}, 1056, 1920),
        ({"height": 1080}, 1080, 1964),
        ({"width": 1920, "height": 1080}, 1080, 1920),
    ],
)
def test_a_missing_side_follows_in_proportion(asked: dict[str, Any], height: int, width: int) -> None:
    assert target_size(Target(**asked), (1408, 2560)) == (height, width)


@pytest.mark.parametrize(
    ("fit", "inner", "bars", "cut"),
    [
        ("crop", (1104, 1920), (0, 0), (12, 0)),
        ("pad", (1080, 1878), (0, 21), (0, 0)),
        ("stretch", (1080, 1920), (0, 0), (0, 0)),
    ],
)
def test_fit_decides_what_happens_to_other_proportions(
    fit: str, inner: tuple[int, int], bars: tuple[int, int], cut: tuple[int, int]
) -> None:
    assert inner_size(fit, (1472, 2560), (1080, 1920)) == inner
    plan = Fitting((1472, 2560), inner, (1080, 1920))
    into, out_of = plan.into, plan.out_of
    assert (into[0].start, into[1].start) == bars
    assert (out_of[0].start, out_of[1].start) == cut
    assert [part.stop - part.start for part in into] == [part.stop - part.start for part in out_of]


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.sampled_from(["crop", "pad", "stretch"]))
def test_what_is_kept_of_a_frame_is_what_is_covered_of_the_target(
    own: tuple[int, int], target: tuple[int, int], fit: Any
) -> None:
    plan = fitted(own, Target(height=target[0], width=target[1], fit=fit))
    sizes = [[part.stop - part.start for part in spans] for spans in (plan.into, plan.out_of)]
    assert sizes[0] == sizes[1]
    assert plan.target == target
    if fit != "pad":
        assert tuple(sizes[0]) == target
    if fit != "crop":
        assert tuple(sizes[1]) == plan.inner


def test_rounding_is_not_worth_a_word() -> None:
    assert fitted((1080, 1920), Target(width=960, height=540)).said("crop") is None
    assert fitted((1081, 1920), Target(width=960, height=540)).said("crop") is None
    assert fitted((1080, 1920), Target(width=961, height=540, fit="stretch")).said("stretch") is None
