"""First frames and sounds, brought to what was asked for."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from deployments.nets.framing import first_frame, fit_sound
from serve_app.core.media import VideoShape, centre_crop
from serve_app.core.resize import cover_resize
from tests.deployments.loaded_ltx2 import picture


def test_the_centre_of_a_first_frame_is_the_picture_itself_at_720p() -> None:
    photo = picture(1280, 720)
    padded = first_frame(photo, VideoShape(97, 720, 1280), VideoShape(97, 736, 1280))
    assert padded.shape == (736, 1280, 3)
    assert np.array_equal(centre_crop(padded, 720, 1280), photo.pixels)
    assert np.array_equal(padded[:8], np.repeat(photo.pixels[:1], 8, axis=0))
    assert np.array_equal(padded[-8:], np.repeat(photo.pixels[-1:], 8, axis=0))


def test_a_picture_of_other_proportions_is_cut_and_never_stretched() -> None:
    photo = picture(300, 100)
    asked = VideoShape(9, 72, 100)
    padded = first_frame(photo, asked, VideoShape(9, 96, 128))
    assert np.array_equal(centre_crop(padded, 72, 100), cover_resize(photo.pixels, 72, 100))
    # Columns 80 to 219 are what 100:72 leaves of 300x100; the picture's red is twice its column.
    assert abs(int(centre_crop(padded, 72, 100)[40, 0, 0]) - 2 * 81) <= 4


def test_sound_that_is_short_ends_in_silence() -> None:
    sound = fit_sound(np.ones((2, 24_240), np.float32), 24_000, 25, Fraction(24))
    assert sound.samples.shape == (2, 25_000)
    assert sound.samples[:, :24_240].min() == 1
    assert not sound.samples[:, 24_240:].any()


def test_sound_that_is_long_is_trimmed() -> None:
    assert fit_sound(np.ones((2, 9_999), np.float32), 48_000, 1, Fraction(24)).samples.shape == (2, 2_000)


def test_sound_lasts_as_long_as_frames_at_an_ntsc_rate() -> None:
    sound = fit_sound(np.zeros((2, 0), np.float32), 24_000, 97, Fraction(30000, 1001))
    assert sound.samples.shape[1] == 77_678
    assert sound.duration_s == pytest.approx(97 * 1001 / 30000, abs=1 / 24_000)


def test_sound_stays_within_one() -> None:
    sound = fit_sound(np.array([[-3.0, 0.25, 7.0]], np.float32), 3, 1, Fraction(1))
    assert sound.samples.tolist() == [[-1.0, 0.25, 1.0]]
