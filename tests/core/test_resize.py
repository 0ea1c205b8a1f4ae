"""Fitting a photo to a frame: covered, centred, antialiased, and never stretched."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from serve_app.core.resize import cover_box, cover_resize


@pytest.mark.parametrize(("height", "width"), [(360, 640), (640, 360), (736, 1280), (1, 1), (17, 3)])
@pytest.mark.parametrize("source", [(512, 512), (7, 1000), (1000, 7), (1, 1), (333, 517)])
def test_any_picture_becomes_exactly_the_size_asked_for(source: tuple[int, int], height: int, width: int) -> None:
    fitted = cover_resize(np.full((*source, 3), 77, np.uint8), height, width)
    assert fitted.shape == (height, width, 3)
    assert (fitted == 77).all()


def test_the_same_size_is_an_exact_copy() -> None:
    photo = data.astronaut()
    photo.flags.writeable = False
    fitted = cover_resize(photo, 512, 512)
    assert np.array_equal(fitted, photo)
    assert fitted.flags.writeable


def test_a_wide_picture_loses_both_sides_equally() -> None:
    assert cover_box(100, 400, 50, 50) == (150, 0, 250, 100)
    wide = np.zeros((100, 400, 3), np.uint8)
    wide[:, 150:250] = 200
    assert (cover_resize(wide, 100, 100) == 200).all()


def test_the_crop_never_leaves_the_picture() -> None:
    for width in range(1, 400, 7):
        left, top, right, bottom = cover_box(333, 517, 211, width)
        assert 0 <= left <= right <= 517
        assert 0 <= top <= bottom <= 333


def test_nothing_is_stretched() -> None:
    canvas = np.zeros((300, 600, 3), np.uint8)
    rows, columns = np.mgrid[:300, :600]
    canvas[(rows - 150) ** 2 + (columns - 300) ** 2 < 100**2] = 255
    disc = cover_resize(canvas, 200, 200)[:, :, 0] > 127
    assert abs(int(disc.any(axis=0).sum()) - int(disc.any(axis=1).sum())) <= 1


def test_fine_detail_is_averaged_away_instead_of_aliasing() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert cover_resize(stripes, 100, 100).astype(int).std() < 2  # a nearest or bilinear tap has 40 and more


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0x5"):
        cover_resize(np.zeros((4, 4, 3), np.uint8), 5, 0)
