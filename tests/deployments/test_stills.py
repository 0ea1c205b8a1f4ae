"""Sizes, starts and step counts of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from deployments.nets.stills import Size, describe, steps_of
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Image
from tests.deployments.loaded_ltx2 import picture


@pytest.mark.parametrize(
    ("asked", "native"),
    [((1024, 1024), "1024x1024"), ((800, 400), "800x400"), ((1000, 570), "1008x576"), ((1, 17), "16x32")],
)
def test_the_native_size_is_the_smallest_legal_one_around_it(asked: tuple[int, int], native: str) -> None:
    size = Size.of(*asked)
    assert describe(size.native) == native
    assert describe(size.asked) == f"{asked[0]}x{asked[1]}"


def test_cropping_a_start_gives_the_picture_back() -> None:
    image = picture(50, 40)
    start = np.asarray(Size.of(50, 40).start(image))
    assert start.shape == (48, 64, 3)
    assert np.array_equal(Size.of(50, 40).crop(start), image.pixels)


def test_a_start_is_cut_and_never_stretched() -> None:
    wide = np.zeros((16, 64, 3), np.uint8)
    wide[:, 24:40] = 255
    assert (np.asarray(Size.of(16, 16).start(Image(wide))) == 255).all()


@pytest.mark.parametrize(
    ("steps", "strength", "left"), [(28, None, 28), (4, 0.5, 2), (10, 0.3, 3), (4, 0.1, 1), (50, 0.6, 30), (7, 0.5, 4)]
)
def test_a_start_leaves_so_many_steps(steps: int, strength: float | None, left: int) -> None:
    assert steps_of(steps, strength) == left


@pytest.mark.parametrize(("steps", "strength"), [(1, 0.5), (4, 0.8), (2, 0.51)])
def test_a_strength_that_rounds_up_to_everything_is_refused(steps: int, strength: float) -> None:
    with pytest.raises(InvalidInput, match="which ignores the image"):
        steps_of(steps, strength)
