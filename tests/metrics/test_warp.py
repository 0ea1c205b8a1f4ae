"""Flow, what is left of it, and the comparison with a picture, on motions of known size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deployments.metrics.flow import Tracker, grid_of, likeness, pulled_back, rigid_part, sampled, smooth, straying
from deployments.metrics.passage import passage_of
from deployments.metrics.region import region_for
from deployments.metrics.scale import Grey, Plane, grey_of, scaled, size_for
from deployments.metrics.warp import Comparison, compare, photo_of, unexplained
from tests.metrics.pictures import HEIGHT, WIDTH, subject

FACE = subject("face:1")
GREY = grey_of(FACE.pixels)
GRID = grid_of(HEIGHT, WIDTH)


def moved(grey: Grey, field: Plane | float) -> Grey:
    """Return the frame whose pixel x shows what was at x + field."""
    places = np.asarray(GRID + field, np.float32)
    return np.asarray(cv2.remap(grey, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101))


def against_photo(after: Grey, box: tuple[float, float, float, float] | None = FACE.face) -> Comparison:
    return compare(photo_of(GREY, 0.3), {1: after}, 0.3, region_for((HEIGHT, WIDTH), box))


def bulge(size_px: float) -> Plane:
    assert FACE.face is not None
    x, y, w, h = FACE.face
    centre = np.array([(x + w / 2) * WIDTH, (y + 0.75 * h) * HEIGHT], np.float32)
    window = np.exp(-((GRID - centre) ** 2).sum(axis=-1) / (2 * 25.0**2))
    return np.asarray(window[..., None] * np.array([size_px, -size_px]), np.float32)


def test_flow_finds_a_known_shift() -> None:
    flow = Tracker(careful=True).flow(smooth(GREY), smooth(moved(GREY, -7.0)))
    assert np.median(flow, axis=(0, 1)) == pytest.approx([7, 7], abs=0.1)
    back = pulled_back(moved(GREY, -7.0).astype(np.float32), flow, GRID)
    assert np.abs(back - GREY)[20:-20, 20:-20].mean() < 2


def test_the_rigid_part_ignores_what_moves_by_itself() -> None:
    field = sampled(np.asarray(0.02 * GRID + 3, np.float32))
    field[30:50, 60:90] += 12
    rigid, matrix = rigid_part(field, np.ones(field.shape[:2], np.float32))
    assert matrix.shape == (3, 2)
    assert np.abs(field - rigid)[:25].max() < 0.1


def test_what_no_affine_motion_explains_is_left() -> None:
    weight = np.ones((90, 160), np.float32)
    affine = sampled(np.asarray(0.02 * GRID - 3, np.float32))
    assert unexplained(affine, weight, 30)[20:-20, 20:-20].max() < 1e-3
    assert unexplained(affine + sampled(bulge(8.0)), weight, 30).max() > 1


def test_likeness_is_blind_to_gain_and_bias_but_not_to_content() -> None:
    plain = GREY.astype(np.float32)
    assert likeness(plain, plain).min() == pytest.approx(1, abs=1e-3)
    assert np.median(likeness(plain, plain * 0.8 + 20)) > 0.95
    assert likeness(plain, plain[:, ::-1].copy()).mean() < 0.8
    flat = np.full_like(plain, 90)
    assert likeness(flat, flat + 1).min() == pytest.approx(1, abs=1e-3)


def test_what_cannot_be_followed_there_and_back_strays() -> None:
    forth = np.full((HEIGHT, WIDTH, 2), 3, np.float32)
    assert not straying(forth, -forth, GRID).any()
    assert straying(forth, forth, GRID).all()


@pytest.mark.parametrize("field", [5.0, 0.04 * (GRID - 300)], ids=["pan", "zoom"])
def test_a_camera_move_bends_nothing(field: Plane | float) -> None:
    found = against_photo(moved(GREY, field))
    assert found.bent < 0.5
    assert found.changed[0] < 0.01
    assert found.torn[0] < 0.01
    assert abs(found.dulled[0]) < 0.15


def test_light_is_not_change() -> None:
    found = against_photo((GREY * 0.6 + 20).astype(np.uint8))
    assert found.torn[0] < 0.02
    assert abs(found.dulled[0]) < 0.15


def test_a_bulge_in_the_face_is_bent_by_its_size() -> None:
    bents = [against_photo(moved(GREY, bulge(size))).bent for size in (0.0, 5.0, 10.0, 15.0)]
    assert bents == sorted(bents)
    assert bents[3] > 1.4


def test_a_bulge_is_found_without_being_pointed_at() -> None:
    assert against_photo(moved(GREY, bulge(12.0)), None).bent > 1.4


def test_blur_is_lost_detail_and_nothing_bent() -> None:
    found = against_photo(np.asarray(cv2.GaussianBlur(GREY, (0, 0), 2.5)))
    assert found.dulled[0] > 1
    assert found.bent < 0.7


def test_another_person_is_torn() -> None:
    found = against_photo(grey_of(subject("face:2").pixels))
    assert found.torn[0] > 0.15
    assert found.lost[0] > 0.5


def test_a_cut_is_placed_and_a_wobble_measured() -> None:
    calm = [moved(GREY, 0.3 * t) for t in range(10)]
    shaken = [moved(GREY, 3 * np.sin(GRID[..., ::-1] / 25 + 0.8 * t)) for t in range(10)]
    cut = [*calm[:6], *[grey_of(subject("face:2").pixels)] * 4]
    assert passage_of(cut, 120, 24).cut[1] == 6
    assert passage_of(cut, 120, 24).cut[0] > 0.1
    assert passage_of(calm, 120, 24).cut[0] < 0.02
    assert passage_of(shaken, 120, 24).wobble > 4 * passage_of(calm, 120, 24).wobble


def test_order_is_even_and_disorder_stutters() -> None:
    pan = [moved(GREY, 3.0 * t) for t in range(12)]
    shuffled = [pan[index] for index in np.random.default_rng(1).permutation(12)]
    assert passage_of(pan, 120, 24).stutter[0] < 0.3
    assert passage_of(shuffled, 120, 24).stutter[0] > 1.35


def test_a_face_is_an_ellipse_and_too_small_a_face_is_no_region() -> None:
    region = region_for((HEIGHT, WIDTH), (0.25, 0.25, 0.5, 0.5))
    assert region.mask is not None
    assert region.mask.mean() == pytest.approx(np.pi / 4 / 4, rel=0.15)
    assert region.size_px == HEIGHT / 2
    assert region_for((HEIGHT, WIDTH), (0.5, 0.5, 0.001, 0.001)).mask is None


@pytest.mark.parametrize("shape", [(720, 1280), (1, 1), (10, 5000), (3000, 20)])
def test_the_working_size_has_room_for_flow(shape: tuple[int, int]) -> None:
    size = size_for(*shape, 640 * 360)
    assert all(64 <= side <= 4096 for side in size)
    assert scaled(np.zeros(shape, np.uint8), size).shape == size
