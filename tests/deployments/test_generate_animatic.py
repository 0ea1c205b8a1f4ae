"""The generator that needs no weights: smooth, honest about its move, and the same bytes for the same seed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from skimage import data

from deployments.generate.animatic import Animatic
from serve_app.core.errors import Cancelled, InvalidInput
from serve_app.core.media import Clip, Image
from serve_app.core.resize import cover_resize
from tests.deployments.desk import DeskContext

PHOTO = Image(data.astronaut())
MOVES = {
    "zoom in slowly": "zoom_in",
    "the camera zooms out": "zoom_out",
    "push": "zoom_in",
    "camera pulls back": "zoom_out",
    "pan left": "pan_left",
    "the camera moves to the right": "pan_right",
    "tilt up": "pan_up",
    "camera drifts slowly down": "pan_down",
    "handheld sway": "sway",
    "orbit around her": "orbit",
    "camera still": "still",
}


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def render(desk: DeskContext, prompt: str = "", seed: int = 1, image: Image = PHOTO, **params: object) -> Clip:
    stage = Animatic()
    stage.load(Animatic.Weights(), desk)
    settings = Animatic.Params.model_validate({"width": 320, "height": 180, "frames": 17, **params})
    return stage.run(settings, prompt=prompt, seed=seed, image=image)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(cv2.norm(np.ascontiguousarray(one), np.ascontiguousarray(other), cv2.NORM_L1)) / one.size


def steps(clip: Clip) -> list[float]:
    return [difference(before, after) for before, after in zip(clip.frames, clip.frames[1:], strict=False)]


def test_the_clip_is_what_was_asked_for(desk: DeskContext) -> None:
    clip = render(desk, fps="29.97", frames=9)
    assert clip.frames.shape == (9, 180, 320, 3)
    assert (clip.fps, clip.model, clip.audio) == (Fraction(30000, 1001), "animatic", None)


@pytest.mark.parametrize("prompt", ["", "pan left", "sway"])
def test_the_same_seed_gives_the_same_bytes(desk: DeskContext, prompt: str) -> None:
    assert np.array_equal(render(desk, prompt, 7).frames, render(desk, prompt, 7).frames)


def test_another_seed_gives_another_clip_even_for_the_same_words(desk: DeskContext) -> None:
    assert not np.array_equal(render(desk, "zoom in", 7).frames, render(desk, "zoom in", 8).frames)


@pytest.mark.parametrize(("prompt", "move"), MOVES.items())
def test_words_for_the_camera_choose_the_move(desk: DeskContext, prompt: str, move: str) -> None:
    render(desk, prompt, frames=2)
    assert desk.notes["move"]["name"] == move
    assert desk.notes["move"]["chosen_by"] == "prompt"
    assert desk.warnings == []


@pytest.mark.parametrize("prompt", ["a woman looking left", "still life with apples", "the upper right corner"])
def test_directions_without_a_camera_are_not_moves(desk: DeskContext, prompt: str) -> None:
    render(desk, prompt, frames=2)
    assert desk.notes["move"]["chosen_by"] == "seed"
    assert "reads only words for the camera" in desk.warnings[0]


def test_seeds_choose_different_moves(desk: DeskContext) -> None:
    names = set()
    for seed in range(20):
        render(desk, seed=seed, frames=1)
        names.add(desk.notes["move"]["name"])
    assert names == {"zoom_in", "pan_left", "pan_right", "sway", "orbit"}


def test_a_family_that_the_prompt_contradicts_is_warned_about(desk: DeskContext) -> None:
    render(desk, "zoom in", motion="sway", frames=2)
    assert desk.notes["move"]["name"] == "sway"
    assert desk.warnings == ["the prompt asks for zoom_in, and motion=sway allows only sway"]


@pytest.mark.parametrize("prompt", [prompt for prompt in MOVES if "zooms out" not in prompt and "back" not in prompt])
def test_the_first_frame_is_the_photo(desk: DeskContext, prompt: str) -> None:
    assert np.array_equal(render(desk, prompt).frames[0], cover_resize(PHOTO.pixels, 180, 320))


def test_a_zoom_out_ends_at_the_photo(desk: DeskContext) -> None:
    assert np.array_equal(render(desk, "zoom out").frames[-1], cover_resize(PHOTO.pixels, 180, 320))


@pytest.mark.parametrize("prompt", MOVES)
@pytest.mark.parametrize("frames", [17, 97])
def test_a_portrait_stays_well_below_the_judges_20_levels(desk: DeskContext, prompt: str, frames: int) -> None:
    clip = render(desk, prompt, frames=frames)
    photo = cover_resize(PHOTO.pixels, 180, 320)
    worst = max(difference(clip.frames[frames * i // 4 if i < 4 else -1], photo) for i in range(5))
    assert 2 < worst < 17


@pytest.mark.parametrize("prompt", MOVES)
@pytest.mark.parametrize("frames", [49, 121])
def test_hardly_a_frame_repeats_the_one_before(desk: DeskContext, prompt: str, frames: int) -> None:
    changes = steps(render(desk, prompt, frames=frames))
    assert sum(change < 0.05 for change in changes) / len(changes) < 0.15


@pytest.mark.parametrize("prompt", ["zoom in", "pan left", "orbit"])
def test_the_speed_is_smooth(desk: DeskContext, prompt: str) -> None:
    changes = np.array(steps(render(desk, prompt, frames=49)))
    assert np.abs(np.diff(changes)).max() < 0.25 * changes.max()


@pytest.mark.parametrize("prompt", MOVES)
def test_there_is_never_a_black_border(desk: DeskContext, prompt: str) -> None:
    white = Image(np.full((200, 300, 3), 255, np.uint8))
    assert (render(desk, prompt, image=white, strength=1.0).frames == 255).all()


def test_a_pan_to_the_right_moves_the_picture_to_the_left(desk: DeskContext) -> None:
    rows, columns = np.mgrid[:180, :320]
    spot = 255 * np.exp(-((rows - 90) ** 2 + (columns - 160) ** 2) / 200)
    clip = render(desk, "pan right", image=Image(np.repeat(spot[:, :, None], 3, axis=2).astype(np.uint8)))
    mass = clip.frames[-1][:, :, 0].astype(float)
    assert (mass.sum(axis=0) @ np.arange(320)) / mass.sum() < 158


def test_the_centre_moves_more_than_the_border(desk: DeskContext) -> None:
    stripes = np.tile(np.array([[0] * 8 + [255] * 8], np.uint8), (180, 20))[:, :, None].repeat(3, axis=2)
    clip = render(desk, "pan left", image=Image(stripes), strength=0.3)
    change = np.abs(clip.frames[-1].astype(int) - clip.frames[0]).mean(axis=2)
    assert change[80:140, 120:200].mean() > 1.2 * change[:10, 120:200].mean()


def test_more_strength_moves_more_and_none_stands_still(desk: DeskContext) -> None:
    totals = [sum(steps(render(desk, "zoom in", strength=strength))) for strength in (0.0, 0.2, 0.5, 1.0)]
    assert totals == sorted(totals)
    assert totals[0] == 0


def test_subtle_moves_less(desk: DeskContext) -> None:
    assert sum(steps(render(desk, "subtle zoom in"))) < 0.8 * sum(steps(render(desk, "zoom in")))


def test_a_flat_picture_gets_the_whole_move(desk: DeskContext) -> None:
    render(desk, "zoom in", image=Image(np.full((90, 160, 3), 90, np.uint8)))
    assert desk.notes["move"]["zoom"] > 1.035


@pytest.mark.parametrize("size", [(1, 1), (33, 700), (2000, 40)])
def test_any_photo_will_do(desk: DeskContext, size: tuple[int, int]) -> None:
    odd = Image(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    assert render(desk, image=odd, frames=3).frames.shape == (3, 180, 320, 3)


def test_a_read_only_photo_will_do(desk: DeskContext) -> None:
    pixels = data.astronaut()
    pixels.flags.writeable = False
    assert render(desk, image=Image(pixels), frames=1).shape.frames == 1


def test_progress_is_told_and_cancelling_stops_it(tmp_path: Path) -> None:
    desk = DeskContext(tmp_path)
    render(desk, frames=17)
    assert desk.steps == [(8, 17), (16, 17), (17, 17)]
    with pytest.raises(Cancelled):
        render(DeskContext(tmp_path, cancel_after=1), frames=17)


def test_a_rate_that_is_none_is_refused_at_plan_time() -> None:
    with pytest.raises(InvalidInput, match="fps"):
        Animatic.plan(Animatic.Params(fps="fast"))


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"strength": 1.5}, {"motion": "spin"}, {"steps": 8}])
def test_params_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Animatic.Params.model_validate(wrong)
