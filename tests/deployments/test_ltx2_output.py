"""What the decoder says, as uint8 or as an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.video_processor import VideoProcessor

from deployments.nets.ltx2_output import Quantiser, sound_of
from serve_app.core.errors import StageError
from serve_app.core.media import Pixels


def _grey(level: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((1, 3, 2, 4, 6), level, dtype=dtype)


def _quantised(video: torch.Tensor) -> Pixels:
    pixels = Quantiser().postprocess_video(video)
    assert isinstance(pixels, np.ndarray)
    return pixels


def test_frames_are_rounded_and_not_cut_off() -> None:
    pixels = _quantised(_grey(2 * 100.75 / 255 - 1))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (1, 2, 4, 6, 3)
    assert (pixels == 101).all()


def test_bf16_frames_are_scaled_in_fp32_where_diffusers_loses_levels() -> None:
    level = torch.tensor(-0.998046875, dtype=torch.bfloat16)  # 0.249 of 255, exactly a bf16 number
    ours = _quantised(_grey(float(level), torch.bfloat16))
    assert (ours == 0).all()
    ramp = torch.linspace(-1, 1, 512).to(torch.bfloat16).reshape(1, 1, 1, 1, 512).expand(1, 3, 1, 1, 512)
    bare = np.rint(VideoProcessor().postprocess_video(ramp, output_type="np")[0] * 255)
    exact = np.rint((ramp.double()[0, :, 0].permute(1, 2, 0).numpy() / 2 + 0.5) * 255)
    assert np.array_equal(_quantised(ramp)[0, 0], exact)
    assert not np.array_equal(bare[0], exact)


@pytest.mark.parametrize("level", [float("nan"), float("inf"), float("-inf")])
def test_a_frame_that_is_not_finite_is_refused(level: float) -> None:
    video = _grey(0.0)
    video[0, 1, 1, 2, 3] = level
    with pytest.raises(StageError, match="frame 1 holds a value that is not a finite number"):
        Quantiser().postprocess_video(video)


def test_diffusers_turns_an_infinite_frame_white_without_a_word() -> None:
    assert (VideoProcessor().postprocess_video(_grey(float("inf")), output_type="np") == 1).all()


def test_sound_that_is_not_finite_is_refused() -> None:
    with pytest.raises(StageError, match="the sound holds"):
        sound_of(torch.tensor([[[0.0, float("nan")]]]))


def test_sound_is_float32_of_channels_by_samples() -> None:
    samples = sound_of(torch.zeros(1, 2, 5, dtype=torch.bfloat16))
    assert samples.dtype == np.float32
    assert samples.shape == (2, 5)
