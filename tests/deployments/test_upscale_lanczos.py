"""Resampling without a network: exact sizes, Pillow's pixels, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Resampling
from pydantic import ValidationError

from deployments.nets.lanczos import resample_levels, resize
from deployments.nets.training.pictures import dead_leaves
from deployments.nets.training.pictures import resize as pillow
from deployments.upscale.lanczos import Lanczos
from serve_app.core.errors import Cancelled
from tests.deployments.clips import clip_of
from tests.deployments.desk import DeskContext

PICTURE = dead_leaves(903, size=64)[:48]
KERNELS = {"lanczos": Resampling.LANCZOS, "bicubic": Resampling.BICUBIC}


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def loaded(desk: DeskContext) -> Lanczos:
    stage = Lanczos()
    stage.load(Lanczos.Weights(), desk)
    return stage


@pytest.mark.parametrize("size", [(96, 72), (128, 96), (40, 30), (33, 25)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_larger_and_smaller_are_pillows(desk: DeskContext, kernel: Any, size: tuple[int, int]) -> None:
    params = Lanczos.Params(width=size[0], height=size[1], fit="stretch", filter=kernel)
    ours = loaded(desk).run(params, clip=clip_of(PICTURE[None].copy())).frames[0]
    expected = pillow(PICTURE, size[1], size[0], KERNELS[kernel])
    assert np.abs(ours.astype(int) - expected).max() <= 2
    assert np.mean(ours != expected) < 0.02


@pytest.mark.parametrize("size", [(96, 128), (72, 96), (31, 40), (48, 96), (96, 64)])
def test_what_a_gpu_computes_is_the_same(size: tuple[int, int]) -> None:
    pixels = torch.tensor(PICTURE).permute(2, 0, 1)[None]
    by_kernel, by_matrices = resize(pixels, size, "lanczos"), resample_levels(pixels, size)
    assert (by_kernel.int() - by_matrices.int()).abs().max() <= 2
    assert (by_kernel != by_matrices).float().mean() < 0.02


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(48, 27), (33, 61), (200, 10), (2, 2)])
def test_the_size_is_exact_and_the_rest_is_carried_over(desk: DeskContext, fit: Any, size: tuple[int, int]) -> None:
    clip = clip_of(np.stack([PICTURE] * 3))
    large = loaded(desk).run(Lanczos.Params(width=size[0], height=size[1], fit=fit, chunk=2), clip=clip)
    assert large.frames.shape == (3, size[1], size[0], 3)
    assert (large.fps, large.model, large.audio) == (clip.fps, clip.model, clip.audio)
    assert desk.steps == [(2, 3), (3, 3)]


def test_a_missing_side_follows_and_the_same_size_is_the_same_bytes(desk: DeskContext) -> None:
    clip = clip_of(PICTURE[None].copy())
    assert loaded(desk).run(Lanczos.Params(width=96), clip=clip).frames.shape == (1, 72, 96, 3)
    assert np.array_equal(loaded(desk).run(Lanczos.Params(height=48), clip=clip).frames, clip.frames)


def test_what_fit_costs_is_said(desk: DeskContext) -> None:
    loaded(desk).run(Lanczos.Params(width=64, height=64), clip=clip_of(PICTURE[None].copy()))
    assert desk.warnings == ["fit: crop cuts off 21 columns and 0 rows"]
    assert desk.notes["lanczos"] == {"filter": "lanczos", "inner_px": [85, 64]}


def test_without_a_size_it_doubles(desk: DeskContext) -> None:
    assert loaded(desk).run(Lanczos.Params(), clip=clip_of(PICTURE[None].copy())).frames.shape == (1, 96, 128, 3)


def test_an_unknown_param_is_refused() -> None:
    with pytest.raises(ValidationError):
        Lanczos.Params(width=64, scale=2)  # type: ignore[call-arg]


def test_cancel_stops_at_the_next_chunk(tmp_path: Path) -> None:
    desk = DeskContext(tmp_path, cancel_after=2)
    with pytest.raises(Cancelled):
        loaded(desk).run(Lanczos.Params(width=96, chunk=1), clip=clip_of(np.stack([PICTURE] * 6)))
    assert len(desk.steps) == 2
