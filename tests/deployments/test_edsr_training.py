"""How the bundled weights are made: the pictures, the crops, and a training of a few steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deployments.nets.edsr import SMALL, Edsr
from deployments.nets.training.edsr import CROP, Crops, enlarge, initialise, train
from deployments.nets.training.pictures import (
    HELD_OUT,
    REDUCTIONS,
    TRAINED,
    Picture,
    dead_leaves,
    halve,
    photograph,
    psnr_y,
    training_pictures,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def leaves() -> list[Picture]:
    return [dead_leaves(seed, size=128, count=60) for seed in (0, 1)]


def test_no_held_out_picture_is_trained_on() -> None:
    held_out = {photograph(name).tobytes() for name in HELD_OUT}
    assert len(held_out) == len(HELD_OUT)
    assert not held_out & {photograph(name).tobytes() for name in TRAINED}
    assert all(picture.shape[0] % 2 == picture.shape[1] % 2 == 0 for picture in training_pictures(leaves=0))


def test_leaves_follow_their_seed() -> None:
    assert np.array_equal(dead_leaves(3, size=64, count=50), dead_leaves(3, size=64, count=50))
    assert not np.array_equal(dead_leaves(3, size=64, count=50), dead_leaves(4, size=64, count=50))
    assert dead_leaves(3, size=64, count=50).std() > 10


def test_psnr_of_a_known_error() -> None:
    truth = np.full((20, 20, 3), 100, np.uint8)
    assert psnr_y(truth + np.uint8(1), truth) == pytest.approx(48.13, abs=0.01)  # 20 log10 255
    spoilt = truth + np.uint8(1)
    spoilt[:4] = 0
    assert psnr_y(spoilt, truth) == psnr_y(truth + np.uint8(1), truth)  # the border does not count


def test_crops_match_each_other() -> None:
    low, high = Crops(leaves(), seed=0).batch()
    assert low.shape[1:] == (3, CROP, CROP)
    assert high.shape[1:] == (3, 2 * CROP, 2 * CROP)
    averaged = torch.nn.functional.avg_pool2d(high, 2)
    assert (averaged - low).abs().mean() < 0.05
    assert (averaged - low.flip(3)).abs().mean() > (averaged - low).abs().mean()


def test_fresh_weights_start_near_bicubic() -> None:
    torch.manual_seed(0)
    network = Edsr(SMALL)
    initialise(network)
    truth = dead_leaves(5, size=64, count=80)
    assert psnr_y(enlarge(network, halve(truth, "bicubic")), truth) > 15
    assert set(REDUCTIONS) == {"bicubic", "lanczos", "area"}


def test_training_follows_its_seed() -> None:
    first, second = (train(3, 7, Crops(leaves(), 7)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not first.training
