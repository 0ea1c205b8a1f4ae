"""What every video family shares: sizes, decoded chunks put together, and whose error it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import LTXImageToVideoPipeline, LTXPipeline

from deployments.nets import loading
from deployments.nets.filming import Filmer, Shot, quantise
from serve_app.core.errors import Cancelled, InvalidInput, StageFailed
from serve_app.core.media import Grid, Image, VideoShape
from tests.deployments.desk import DeskContext
from tests.deployments.tiny_ltx_video import build

ASKED = VideoShape(frames=9, height=40, width=50)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = build(tmp_path_factory.mktemp("tiny"))
    return LTXPipeline.from_pretrained(directory, local_files_only=True, dtype=torch.bfloat16)


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


@pytest.fixture
def filmer(pipeline: Any, desk: DeskContext) -> Filmer:
    return Filmer("generate.test", pipeline, (), desk, {})


def test_a_shot_is_made_on_the_grid_and_cut_to_what_was_asked() -> None:
    shot = Shot.of(ASKED, Grid(spatial=32, temporal=8), Fraction(25), seed=0)
    assert shot.facts == {"size": "50x40x9", "native_size": "64x64x9", "fps": "25"}
    assert shot.clip(np.zeros((9, 64, 64, 3), np.uint8), "tiny").shape == ASKED
    assert shot.start(Image(np.zeros((7, 300, 3), np.uint8))).size == (64, 64)


def test_a_shot_off_the_grid_or_out_of_seeds_is_refused() -> None:
    with pytest.raises(InvalidInput, match="frames: 9 is not 6k"):
        Shot.of(ASKED, Grid(spatial=32, temporal=6), Fraction(25), seed=0)
    with pytest.raises(InvalidInput, match="seed: "):
        Shot.of(ASKED, Grid(spatial=32, temporal=8), Fraction(25), seed=2**63)


def test_chunks_are_put_together_in_order(filmer: Filmer) -> None:
    levels = [-1.0, 0.0, 1.0]
    chunks = [torch.full((1, 3, 1, 2, 4), level) for level in levels]
    pixels = filmer.develop(chunks, VideoShape(frames=3, height=2, width=4))
    assert [int(frame[0, 0, 0]) for frame in pixels] == [0, 128, 255]


def test_a_frame_too_few_is_an_error_and_not_a_black_one(filmer: Filmer) -> None:
    with pytest.raises(ValueError, match="1 frames were decoded, and 2 were asked for"):
        filmer.develop([torch.zeros(1, 3, 1, 2, 2)], VideoShape(frames=2, height=2, width=2))


def test_developing_stops_after_a_chunk_when_it_is_cancelled(filmer: Filmer, desk: DeskContext) -> None:
    desk.cancel_after = 0
    with pytest.raises(Cancelled):
        filmer.develop([torch.zeros(1, 3, 1, 2, 2)], VideoShape(frames=1, height=2, width=2))


def test_a_value_that_is_not_finite_is_told_by_its_frame_and_stage() -> None:
    video = torch.zeros(1, 3, 4, 2, 2)
    video[0, 1, 2, 0, 0] = float("nan")
    with pytest.raises(StageFailed, match=r"generate\.test ended with NotFinite: frame 12 holds"):
        quantise(video, "generate.test", first=10)


def test_a_second_pipeline_leaves_the_weights_as_they_are_where_diffusers_casts_them(pipeline: Any) -> None:
    other = loading.sibling(LTXImageToVideoPipeline, pipeline)
    assert other.transformer is pipeline.transformer
    assert other.scheduler is not pipeline.scheduler
    assert pipeline.transformer.dtype == torch.bfloat16
    LTXImageToVideoPipeline.from_pipe(pipeline)
    assert pipeline.transformer.dtype == torch.float32
