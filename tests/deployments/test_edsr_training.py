"""How the bundled weights are made: the pictures, the crops, and a training of a few steps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from deployments.nets.edsr import BUILTIN, SMALL, SMALL_X1_5, Edsr, load
from deployments.nets.training.edsr import CROP, Crops, enlarge, fresh, initialise, train
from deployments.nets.training.pictures import (
    HELD_OUT,
    REDUCTIONS,
    TRAINED,
    Picture,
    dead_leaves,
    halve,
    photograph,
    psnr_y,
    reduce,
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
    first, second = (train(3, fresh(SMALL, 7), Crops(leaves(), 7)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not first.training


def test_crops_for_one_and_a_half_times_match_each_other() -> None:
    low, high = Crops(leaves(), seed=0, ratio=Fraction(3, 2)).batch()
    assert low.shape[2:] == (CROP, CROP)
    assert high.shape[2:] == (CROP * 3 // 2, CROP * 3 // 2)
    reduced = torch.nn.functional.interpolate(high, (CROP, CROP), mode="area")
    assert (reduced - low).abs().mean() < (reduced - low.roll(1, 3)).abs().mean()


def test_a_network_for_another_scale_begins_with_what_the_first_has_learnt() -> None:
    learnt, begun = load(BUILTIN["small"]).state_dict(), fresh(SMALL_X1_5, 0).state_dict()
    same = {name for name, tensor in learnt.items() if torch.equal(tensor, begun[name].contiguous())}
    assert same == {name for name in learnt if not name.startswith("up.")}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ratio", [Fraction(2), Fraction(3, 2)])
def test_reductions_keep_the_mean_and_the_place(reduction: str, ratio: Fraction) -> None:
    picture = np.zeros((36, 36, 3), np.uint8)
    picture[:, 18:] = 200
    small = reduce(picture, reduction, ratio)
    assert small.shape == (int(36 / ratio), int(36 / ratio), 3)
    assert small.mean() == pytest.approx(100, abs=3)
    assert np.array_equal(small[:, ::-1].astype(int), 200 - small.astype(int)) or reduction != "area"
