"""The classic figures, reproduced to the digit, with their faults."""

from __future__ import annotations

import numpy as np
import pytest

from deployments.metrics.seed_score import checkpoints_of, classic_label, pixel_diff, seed_score

PAIRS = [(221.0, 95.0), (112.0, 90.0), (78.0, 85.0), (550.0, 100.0), (366.0, 95.0)]
"""Sharpness and score as published for five generators; each needs brightness in 80..180 and contrast above 60."""


@pytest.mark.parametrize(("sharpness", "score"), PAIRS)
def test_the_published_pairs_come_out(sharpness: float, score: float) -> None:
    assert seed_score(sharpness, 120.0, 61.0) == score


@pytest.mark.parametrize(
    ("sharpness", "score"), [(50, 50), (50.1, 60), (100, 60), (100.1, 65), (200, 65), (200.1, 70), (500, 70), (501, 75)]
)
def test_an_edge_belongs_to_the_band_below(sharpness: float, score: float) -> None:
    assert seed_score(sharpness, 0.0, 0.0) == score


@pytest.mark.parametrize(
    ("brightness", "points"), [(80, 10), (81, 15), (180, 10), (60, 5), (200, 5), (40, 0), (220, 0), (41, 5)]
)
def test_brightness_earns_within_open_intervals(brightness: float, points: float) -> None:
    assert seed_score(0.0, brightness, 0.0) == 50 + points


@pytest.mark.parametrize(("contrast", "points"), [(25, 0), (25.1, 3), (40, 3), (40.1, 7), (60, 7), (60.1, 10)])
def test_contrast_earns_above_its_edges(contrast: float, points: float) -> None:
    assert seed_score(0.0, 0.0, contrast) == 50 + points


def test_its_floor_is_50() -> None:
    assert seed_score(0.0, 0.0, 0.0) == 50


def test_checkpoints_are_the_quarters_and_none_comes_twice() -> None:
    assert checkpoints_of(97) == [0, 24, 48, 72, 96]
    assert checkpoints_of(2) == [0, 1]
    assert checkpoints_of(1) == [0]


def test_the_difference_is_the_mean_over_all_values() -> None:
    black = np.zeros((4, 6, 3), np.uint8)
    half = black.copy()
    half[:2] = 30
    assert pixel_diff(half, black) == 15
    assert pixel_diff(half[:, ::-1], black) == 15


@pytest.mark.parametrize(("value", "label"), [(19.99, "OK"), (20, "WARN"), (29.99, "WARN"), (30, "FAIL")])
def test_the_classic_words(value: float, label: str) -> None:
    assert classic_label(value) == label
