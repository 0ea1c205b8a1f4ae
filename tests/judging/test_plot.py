"""A measure over time as a picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from serve_app.commands.judging.plot import plot
from serve_app.core.score import Series

CURVE = Series("cut", "identity", "1-ZNCC", "highest", tuple(range(1, 9)), (0.0, 0, 0, 0.08, 0.4, 0, 0, 0), 0.06, 0.11)
FLOOR = Series("luma_min", "black", "levels", "lowest", (0, 1, 2), (90.0, 2.0, 91.0), None, 8.0, True)


def marks(series: Series, frames: int = 9) -> list[tuple[str, str]]:
    """Return (word, title) of every marked value."""
    return re.findall(r'class="mark (\w+)".*?<title>(.*?)</title>', plot(series, frames, []))


def test_values_beyond_a_limit_are_marked_with_their_frame() -> None:
    assert marks(CURVE) == [("warn", "frame 4: 0.08 1-ZNCC"), ("fail", "frame 5: 0.4 1-ZNCC")]
    assert marks(FLOOR, 3) == [("fail", "frame 1: 2 levels")]


def test_both_limits_are_drawn_where_they_are_in_sight() -> None:
    assert re.findall(r'class="limit (\w+)"', plot(CURVE, 9, [])) == ["warn", "fail"]
    assert 'class="limit fail"' in plot(FLOOR, 3, [])


def test_the_frame_that_was_named_is_shown() -> None:
    assert "<title>frame 5</title>" in plot(CURVE, 9, [5])


@pytest.mark.parametrize(
    "series",
    [
        CURVE,
        FLOOR,
        Series("blur", "blur", "levels^2", "lowest", (), ()),
        Series("blur", "blur", "levels^2", "lowest", (0,), (0.0,)),
        Series("blur", "blur", 'a<b>"&', "lowest", (0, 1), (-1.0, -2.0), -3.0, 5e9),
        Series("blur", "blur", "x", "lowest", tuple(range(3000)), tuple(float(i) for i in range(3000)), 1.0, 2.0),
    ],
    ids=["curve", "floor", "empty", "one", "negative", "long"],
)
def test_any_series_is_well_formed_and_within_its_frame(series: Series) -> None:
    drawing = ElementTree.fromstring(plot(series, 3000, [1]))
    assert len(drawing) < 100
    for place in re.findall(r"[\d.-]+", (drawing.find("polyline") or drawing[-1]).get("points", "")):
        assert -1 <= float(place) <= 361
