"""What neighbouring frames show by themselves."""

from __future__ import annotations

import numpy as np

from deployments.metrics.motion import flicker, jump, repeats, steps_of
from deployments.metrics.scale import Grey, grey_of
from tests.metrics.pictures import subject

GREY = grey_of(subject("scene:1").pixels)


def lit(gains: list[float]) -> list[Grey]:
    return [np.clip(GREY * gain, 0, 255).astype(np.uint8) for gain in gains]


def test_repeats_are_found_where_they_are() -> None:
    frames = lit([1, 1, 0.9, 0.9, 0.8])
    assert repeats(steps_of(frames), 0.05).tolist() == [True, False, True, False]


def test_light_that_alternates_flickers() -> None:
    level, _, frame = flicker(steps_of(lit([1.0, 0.9] * 10)))
    assert level > 4
    assert 0 < frame < 19


def test_light_that_fades_does_not() -> None:
    level, local, _ = flicker(steps_of(lit(list(np.linspace(1, 0.6, 20)))))
    assert level < 0.5
    assert local < 0.5


def test_one_frame_gone_black_is_no_flicker() -> None:
    frames = lit([1.0] * 20)
    frames[10] = np.zeros_like(frames[10])
    assert flicker(steps_of(frames))[0] < 0.5
    assert jump(steps_of(frames)) == (steps_of(frames).change.max() / 0.5, 10)


def test_a_part_that_flickers_is_seen_in_its_tile() -> None:
    frames = lit([1.0] * 20)
    for frame in frames[::2]:
        frame[:180, :320] = frame[:180, :320] // 2
    level, local, _ = flicker(steps_of(frames))
    assert local > 8
    assert level < local


def test_too_few_frames_neither_flicker_nor_jump() -> None:
    assert flicker(steps_of(lit([1, 0.5, 1])))[:2] == (0, 0)
    assert jump(steps_of(lit([1, 0.5, 1]))) == (0, 0)
