"""The upscaling stage: what it promises about size, bytes, quality and refusals."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Resampling
from pydantic import ValidationError

from deployments.nets.edsr import BUILTIN, BUILTIN_X1_5, save
from deployments.nets.edsr_files import read
from deployments.nets.training.pictures import (
    HELD_OUT,
    REDUCTIONS,
    dead_leaves,
    divisible,
    halve,
    photograph,
    psnr_y,
    resize,
)
from deployments.upscale.edsr import Edsr
from serve_app.core.digest import of_bytes
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured
from serve_app.core.media import Clip
from tests.deployments.clips import clip_of
from tests.deployments.desk import DeskContext
from tests.deployments.foreign_edsr import Basic, fill


def loaded(desk: DeskContext, **weights: Any) -> Edsr:
    stage = Edsr()
    stage.load(Edsr.Weights(**weights), desk)
    return stage


def moving(count: int, height: int, width: int) -> Clip:
    scene = dead_leaves(901, size=max(height, width) + count)
    return clip_of(np.stack([scene[shift : shift + height, shift : shift + width] for shift in range(count)]))


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


@pytest.fixture
def stage(desk: DeskContext) -> Edsr:
    return loaded(desk)


def test_held_out_photographs_gain_over_bicubic(stage: Edsr) -> None:
    gains = {}
    for name in HELD_OUT:
        truth = photograph(name)
        for reduction in REDUCTIONS:
            half = halve(truth, reduction)
            large = stage.run(Edsr.Params(), clip=clip_of(half[None].copy())).frames[0]
            bicubic = resize(half, truth.shape[0], truth.shape[1], Resampling.BICUBIC)
            gains[name, reduction] = psnr_y(large, truth) - psnr_y(bicubic, truth)
    assert min(gains.values()) >= 0.5, gains
    assert statistics.fmean(gains.values()) >= 1.0, gains


def test_lanczos_keeps_the_gain_at_other_sizes(stage: Edsr) -> None:
    truth = photograph("motorcycle_left.png")[:498, :738]
    small = resize(truth, 332, 492, Resampling.BICUBIC)
    large = stage.run(Edsr.Params(width=738, height=498), clip=clip_of(small[None].copy())).frames[0]
    bicubic = resize(small, 498, 738, Resampling.BICUBIC)
    assert psnr_y(large, truth) - psnr_y(bicubic, truth) >= 1.0


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(48, 27), (33, 61), (106, 74), (200, 10), (2, 2)])
def test_the_size_is_exact_and_the_rest_is_carried_over(stage: Edsr, fit: str, size: tuple[int, int]) -> None:
    clip = moving(2, 37, 53)
    large = stage.run(Edsr.Params(width=size[0], height=size[1], fit=fit), clip=clip)
    assert large.frames.shape == (2, size[1], size[0], 3)
    assert large.frames.dtype == np.uint8
    assert (large.fps, large.model, large.audio) == (clip.fps, clip.model, clip.audio)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 17), (64, 64)])
def test_without_a_target_the_size_doubles(stage: Edsr, size: tuple[int, int]) -> None:
    large = stage.run(Edsr.Params(), clip=moving(1, *size))
    assert large.frames.shape == (1, 2 * size[0], 2 * size[1], 3)


def test_crop_cuts_edges_and_pad_adds_black_bars(stage: Edsr) -> None:
    grey = clip_of(np.full((1, 20, 40, 3), 128, np.uint8))
    cropped = stage.run(Edsr.Params(width=40, height=40, fit="crop"), clip=grey).frames[0]
    padded = stage.run(Edsr.Params(width=40, height=40, fit="pad"), clip=grey).frames[0]
    assert cropped[8:-8, 8:-8].min() >= 126
    assert not padded[:10].any()
    assert not padded[30:].any()
    assert padded[14:26, 8:-8].min() >= 126


def test_the_network_s_own_size_is_not_resampled(stage: Edsr) -> None:
    clip = moving(1, 24, 40)
    for fit in ("crop", "pad", "stretch"):
        same = stage.run(Edsr.Params(width=80, height=48, fit=fit), clip=clip)
        assert np.array_equal(same.frames, stage.run(Edsr.Params(), clip=clip).frames)


def test_bytes_depend_on_the_frame_alone(stage: Edsr) -> None:
    clip = moving(5, 33, 47)
    digests = {
        of_bytes(stage.run(Edsr.Params(width=71, height=50, chunk=chunk), clip=clip).frames.tobytes())
        for chunk in (1, 2, 3, 5, 64, 5)
    }
    assert len(digests) == 1
    alone = Clip(clip.frames[3:4], clip.fps, clip.model)
    last = stage.run(Edsr.Params(width=71, height=50), clip=alone).frames[0]
    assert np.array_equal(last, stage.run(Edsr.Params(width=71, height=50), clip=clip).frames[3])


def test_filters_differ(stage: Edsr) -> None:
    clip = moving(1, 40, 40)
    lanczos = stage.run(Edsr.Params(width=50, height=50), clip=clip).frames
    bicubic = stage.run(Edsr.Params(width=50, height=50, filter="bicubic"), clip=clip).frames
    assert not np.array_equal(lanczos, bicubic)
    assert np.abs(lanczos.astype(int) - bicubic).mean() < 4


def test_half_precision_stays_within_two_levels(desk: DeskContext) -> None:
    clip = moving(1, 64, 96)
    exact = loaded(desk, dtype="fp32").run(Edsr.Params(), clip=clip).frames.astype(int)
    halved = loaded(desk, dtype="bf16").run(Edsr.Params(), clip=clip).frames
    assert np.abs(exact - halved).max() <= 3
    assert np.abs(exact - halved).mean() < 0.2


def test_it_reports_progress_and_what_it_used(stage: Edsr, desk: DeskContext) -> None:
    stage.run(Edsr.Params(chunk=2), clip=moving(5, 16, 16))
    assert desk.steps == [(2, 5), (4, 5), (5, 5)]
    assert desk.notes["edsr"]["network_px"] == [32, 32]
    assert len(desk.notes["edsr"]["weights"]) == 64
    assert desk.warnings == []


def test_it_says_when_a_target_lies_beyond_the_network(stage: Edsr, desk: DeskContext) -> None:
    stage.run(Edsr.Params(width=64, height=64), clip=moving(1, 16, 16))
    assert desk.warnings == ["the network enlarges to 32x32 px; from there to 64x64 is interpolated"]


def test_cancel_stops_at_the_next_chunk(tmp_path: Path) -> None:
    desk = DeskContext(tmp_path, cancel_after=2)
    with pytest.raises(Cancelled):
        loaded(desk).run(Edsr.Params(chunk=1), clip=moving(6, 16, 16))
    assert len(desk.steps) == 2


def test_it_keeps_to_its_threads(tmp_path: Path) -> None:
    loaded(DeskContext(tmp_path, threads=1)).run(Edsr.Params(), clip=moving(1, 8, 8))
    assert torch.get_num_threads() == 1


def test_an_empty_clip_stays_empty(stage: Edsr) -> None:
    assert stage.run(Edsr.Params(), clip=clip_of(np.zeros((0, 8, 8, 3), np.uint8))).frames.shape == (0, 16, 16, 3)


@pytest.mark.parametrize(
    "params",
    [
        {"width": 0},
        {"height": 20_000},
        {"fit": "squash"},
        {"filter": "area"},
        {"chunk": 0},
        {"scale": 2},
        {"width": 9.5},
    ],
)
def test_bad_params_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        Edsr.Params(**params)
    assert [error["loc"][0] for error in raised.value.errors()] == list(params)


@pytest.mark.parametrize("scale", [3, 4])
def test_weights_from_a_file_of_any_scale(desk: DeskContext, tmp_path: Path, scale: int) -> None:
    theirs = Basic(1, 8, scale, 1.0)
    fill(theirs, scale, 1.0, 255)
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    save(read(tmp_path / "x.pth").network, tmp_path / "x.safetensors", {})
    large = loaded(desk, file=str(tmp_path / "x.safetensors")).run(Edsr.Params(), clip=moving(1, 8, 10))
    assert large.frames.shape == (1, 8 * scale, 10 * scale, 3)


def small_x2_alone(desk: DeskContext) -> Edsr:
    return loaded(desk, file=str(BUILTIN["small"]))


@pytest.mark.parametrize(
    ("size", "asked", "scale"),
    [
        ((36, 64), {"width": 96, "height": 54}, 1.5),
        ((36, 64), {"width": 80}, 1.5),
        ((36, 64), {"width": 96, "height": 52}, 1.5),
        ((36, 64), {"width": 98, "height": 54}, 2.0),
        ((36, 64), {"width": 128, "height": 72}, 2.0),
        ((36, 64), {"width": 256, "height": 144}, 2.0),
        ((35, 64), {"width": 96, "height": 54, "fit": "stretch"}, 2.0),
        ((36, 63), {"width": 80}, 2.0),
        ((36, 64), {}, 2.0),
    ],
)
def test_the_network_that_enlarges_least_and_yet_enough_is_used(
    stage: Edsr, desk: DeskContext, size: tuple[int, int], asked: dict[str, Any], scale: float
) -> None:
    stage.run(Edsr.Params(**asked), clip=moving(1, *size))
    assert desk.notes["edsr"]["scale"] == scale


def test_one_and_a_half_times_is_better_at_once_than_by_twice(stage: Edsr, desk: DeskContext) -> None:
    gains = []
    for name in HELD_OUT:
        truth = divisible(photograph(name), 6)[:300, :300]
        clip = clip_of(resize(truth, 200, 200, Resampling.BICUBIC)[None].copy())
        params = Edsr.Params(width=300, height=300)
        at_once, by_twice = (each.run(params, clip=clip).frames[0] for each in (stage, small_x2_alone(desk)))
        gains.append(psnr_y(at_once, truth) - psnr_y(by_twice, truth))
    assert statistics.fmean(gains) > 0.03, gains


def test_a_network_for_one_and_a_half_alone_refuses_odd_sides(desk: DeskContext) -> None:
    stage = loaded(desk, file=str(BUILTIN_X1_5))
    assert stage.run(Edsr.Params(), clip=moving(1, 8, 10)).frames.shape == (1, 12, 15, 3)
    with pytest.raises(InvalidInput, match="clip: its sides are odd"):
        stage.run(Edsr.Params(), clip=moving(1, 7, 10))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"width": 64, "height": 64}, "fit: crop cuts off 64 columns and 0 rows"),
        ({"width": 64, "height": 64, "fit": "pad"}, "fit: pad adds black: 0 columns and 32 rows"),
        ({"width": 64, "height": 64, "fit": "stretch"}, "fit: stretch makes everything 0.500 times as wide"),
    ],
)
def test_what_fit_costs_is_said(stage: Edsr, desk: DeskContext, asked: dict[str, Any], said: str) -> None:
    stage.run(Edsr.Params(**asked), clip=moving(1, 32, 64))
    assert desk.warnings[0].startswith(said)


def test_what_only_a_gpu_can_do_is_refused_on_a_cpu(desk: DeskContext) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.execution: `graph` records CUDA kernels"):
        loaded(desk, execution="graph")
    with pytest.raises(Misconfigured, match=r"weights\.dtype: `fp16` is for GPUs"):
        loaded(desk, dtype="fp16")


def test_bad_weights_are_refused(desk: DeskContext, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.file: no EDSR weights at .*smal"):
        loaded(desk, file="smal")
    (tmp_path / "x.safetensors").write_text(json.dumps({}))
    with pytest.raises(Misconfigured, match=r"weights\.file: .*not a safetensors file"):
        loaded(desk, file=str(tmp_path / "x.safetensors"))
    with pytest.raises(ValidationError):
        Edsr.Weights(dtype="int8")
