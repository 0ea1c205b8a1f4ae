"""Pictures, clips and their geometry."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from serve_app.core.errors import InvalidInput
from serve_app.core.media import Audio, Clip, Grid, Image, VideoShape, centre_crop, edge_pad, exact_fps


@pytest.mark.parametrize(
    ("given", "exact"),
    [
        (24, Fraction(24)),
        (29.97, Fraction(30000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        ("30000/1001", Fraction(30000, 1001)),
        (30.0, Fraction(30)),
        (240, Fraction(240)),
    ],
)
def test_a_rate_is_the_fraction_that_it_stands_for(given: float | str, exact: Fraction) -> None:
    assert exact_fps(given) == exact


@pytest.mark.parametrize("given", [0, -24, 241, "x", "1/0", float("nan"), float("inf"), 1e-9, "1/3000"])
def test_what_is_no_rate_is_refused_by_name(given: float | str) -> None:
    with pytest.raises(InvalidInput) as caught:
        exact_fps(given)
    assert caught.value.field == "fps"


def test_720p_is_covered_by_the_next_multiples_of_32() -> None:
    assert Grid(spatial=32, temporal=8).cover(VideoShape(97, 720, 1280)) == VideoShape(97, 736, 1280)
    assert Grid(spatial=64, temporal=8).cover(VideoShape(97, 704, 1280)) == VideoShape(97, 704, 1280)


@pytest.mark.parametrize(("frames", "nearest"), [(24, "17 and 25"), (8, "1 and 9"), (0, "1 and 9"), (98, "97 and 105")])
def test_a_count_off_the_grid_is_refused_with_the_nearest_legal_ones(frames: int, nearest: str) -> None:
    with pytest.raises(InvalidInput, match=f"frames: {frames} is not 8k\\+1; the nearest are {nearest}"):
        Grid(spatial=32, temporal=8).check_frames(frames)


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 3)])
def test_cropping_undoes_padding_exactly(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    padded = edge_pad(pixels, 8, 12)
    assert padded.shape[-3:] == (8, 12, 3)
    assert np.array_equal(centre_crop(padded, 5, 7), pixels)
    assert np.array_equal(padded[..., 0, :, :], padded[..., 1, :, :]), "the edge row is repeated"


def test_padding_does_not_shrink_and_cropping_does_not_grow() -> None:
    pixels = np.zeros((5, 7, 3), np.uint8)
    with pytest.raises(ValueError, match="cannot pad"):
        edge_pad(pixels, 4, 7)
    with pytest.raises(ValueError, match="cannot crop"):
        centre_crop(pixels, 6, 7)


def test_a_clip_knows_its_shape_and_length() -> None:
    clip = Clip(np.zeros((49, 4, 6, 3), np.uint8), Fraction(24), "animatic")
    assert clip.shape == VideoShape(frames=49, height=4, width=6)
    assert clip.duration_s == pytest.approx(49 / 24)
    assert Audio(np.zeros((2, 24000), np.float32), 24000).duration_s == 1.0


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.float32), np.zeros((4, 6, 4), np.uint8)]
)
def test_a_picture_is_eight_bit_rgb_and_nothing_else(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        Image(pixels)
