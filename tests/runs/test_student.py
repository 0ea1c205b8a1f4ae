"""Student's t against a table that everybody has, and against itself."""

from __future__ import annotations

import math

import pytest

from serve_app.runs.student import t_cdf, t_quantile


@pytest.mark.parametrize(
    ("p", "df", "t"),
    [
        (0.975, 1, 12.7062047362),
        (0.975, 2, 4.30265272975),
        (0.975, 4, 2.77644510520),
        (0.975, 10, 2.22813885199),
        (0.995, 30, 2.74999565357),
        (0.95, 120, 1.65765089935),
        (0.975, 1000, 1.96233908083),
        (0.9995, 1, 636.619248769),
        (0.025, 2, -4.30265272975),
        (0.5, 3, 0.0),
    ],
)
def test_a_quantile_is_the_tables(p: float, df: int, t: float) -> None:
    assert t_quantile(p, df) == pytest.approx(t, rel=1e-10)


@pytest.mark.parametrize("df", [1, 2, 3, 7, 50, 400])
@pytest.mark.parametrize("p", [1e-6, 0.01, 0.3, 0.6, 0.99, 1 - 1e-6])
def test_a_quantile_undoes_the_distribution_function(p: float, df: int) -> None:
    assert t_cdf(t_quantile(p, df), df) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("t", [-30.0, -1.0, 0.0, 0.3, 4.0])
def test_one_degree_of_freedom_is_cauchys_distribution(t: float) -> None:
    assert t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, rel=1e-12)


@pytest.mark.parametrize(("p", "df"), [(0.0, 3), (1.0, 3), (-1.0, 3), (0.9, 0)])
def test_what_has_no_quantile_is_refused(p: float, df: int) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(p, df)
