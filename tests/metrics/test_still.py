"""Each measure of a frame answers to its own flaw, and to no other."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from deployments.metrics import still
from deployments.metrics.picture import readings
from deployments.metrics.scale import Grey, grey_of
from tests.metrics.pictures import TRAIN, VALIDATION, subject

PHOTO = grey_of(subject("motorcycle").pixels)
RNG = np.random.default_rng(0)


def noisy(grey: Grey, sigma: float) -> Grey:
    return np.clip(grey + RNG.normal(0, sigma, grey.shape), 0, 255).astype(np.uint8)


def blurred(grey: Grey, sigma: float) -> Grey:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma))


def fine_detail(grey: Grey) -> float:
    return readings(np.repeat(grey[..., None], 3, axis=2))["log1c"].value


def test_sharpness_is_the_variance_of_the_four_neighbour_laplacian() -> None:
    grey = PHOTO.astype(np.float64)
    padded = np.pad(grey, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey
    assert still.laplacian_variance(PHOTO) == pytest.approx(laplacian.var(), rel=1e-9)


def test_noise_raises_the_classic_sharpness_twentyfold() -> None:
    flat = np.full((512, 512), 128, np.uint8)
    assert still.laplacian_variance(noisy(flat, 10)) == pytest.approx(20 * 100, rel=0.03)
    assert still.log_variance(noisy(flat, 10), 10.0) < 0.2


@pytest.mark.parametrize("sigma", [2, 5, 10, 20])
def test_grain_is_measured_within_a_tenth_on_flat_ground(sigma: float) -> None:
    assert still.noise_sigma(noisy(np.full((512, 512), 128, np.uint8), sigma)) == pytest.approx(sigma, rel=0.1)


def test_a_clean_picture_has_hardly_any_grain() -> None:
    assert still.noise_sigma(PHOTO) < 1


@pytest.mark.parametrize("name", [*TRAIN, *VALIDATION])
def test_blur_lowers_fine_detail_whatever_the_noise(name: str) -> None:
    grey = grey_of(subject(name).pixels)
    clean = fine_detail(grey)
    for noise in (0, 4, 10):
        ladder = [fine_detail(noisy(blurred(grey, sigma), noise)) for sigma in (1.0, 2.0, 4.0)]
        assert clean > max(ladder)
        assert all(less < more + 0.5 for more, less in pairwise(ladder))


def test_the_classic_sharpness_takes_noise_for_detail() -> None:
    assert still.laplacian_variance(noisy(blurred(PHOTO, 2), 20)) > still.laplacian_variance(PHOTO)


def test_blocks_answer_to_compression_and_not_to_a_fence() -> None:
    _, data = cv2.imencode(".jpg", PHOTO, [cv2.IMWRITE_JPEG_QUALITY, 8])
    fence = np.zeros((256, 256), np.uint8)
    fence[:, ::8] = 200
    assert still.blockiness(PHOTO) < 0.1
    assert still.blockiness(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))) > 0.8
    assert still.blockiness(fence) < 0.1


def test_terraces_answer_to_few_levels() -> None:
    grey = grey_of(subject("scene:1").pixels)
    assert still.banding(grey) < 0.1
    assert still.banding((grey // 16 * 16).astype(np.uint8)) > 0.25


def test_colour_is_signed() -> None:
    grey = np.repeat(PHOTO[..., None], 3, axis=2)
    assert still.colourfulness(grey) == 0
    halves = np.zeros((10, 10, 3), np.uint8)
    halves[:5, :, 0], halves[5:, :, 1] = 200, 200  # red above green: of opposite signs
    assert still.colourfulness(halves) > 200


def test_tones_count_crushed_and_blown_pixels_and_bits() -> None:
    board = np.indices((64, 64)).sum(axis=0) // 8 % 2 * 255
    spread = still.tones(board.astype(np.uint8))
    assert (spread.crushed, spread.blown) == (0.5, 0.5)
    assert spread.bits == pytest.approx(1.0)
    assert still.tones(PHOTO).bits > 6


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (15, 17), (33, 31)])
def test_every_measure_is_finite_at_any_size(shape: tuple[int, int]) -> None:
    grey = RNG.integers(0, 256, shape).astype(np.uint8)
    found = [
        still.laplacian_variance(grey),
        still.noise_sigma(grey),
        still.log_variance(grey, 1.0),
        still.blockiness(grey),
        still.banding(grey),
        *still.light(grey),
        still.tones(grey).bits,
        still.colourfulness(np.repeat(grey[..., None], 3, axis=2)),
    ]
    assert np.isfinite(found).all()
