"""From the decoder's floats to bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deployments.nets.finite import quantise, require
from serve_app.core.errors import StageFailed


def test_levels_are_rounded_cut_to_the_range_and_in_rows() -> None:
    levels = torch.tensor([-1.5, -1.0, 2 * 100.75 / 255 - 1, 1.0, 7.0]).expand(3, 2, 5)
    pixels = quantise(levels)
    assert pixels.dtype == np.uint8
    assert (pixels.shape, pixels.flags.c_contiguous) == ((2, 5, 3), True)
    assert pixels[0, :, 0].tolist() == [0, 0, 101, 255, 255]


def test_bf16_is_scaled_in_fp32() -> None:
    ramp = torch.linspace(-1, 1, 512).to(torch.bfloat16).expand(3, 1, 512)
    exact = np.rint((ramp.double().permute(1, 2, 0).numpy() / 2 + 0.5) * 255)
    assert np.array_equal(quantise(ramp), exact)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_named_with_its_stage(value: float) -> None:
    with pytest.raises(StageFailed) as caught:
        require(torch.tensor([0.0, value]), "the picture", "generate.x")
    assert (caught.value.stage, caught.value.kind) == ("generate.x", "NotFinite")
