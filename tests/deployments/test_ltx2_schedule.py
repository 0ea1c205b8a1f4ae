"""The noise levels that LTX-2's scheduler really takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deployments.nets.ltx2_sampling import DISTILLED_SIGMAS, reference_sigmas
from tests.deployments.loaded_ltx2 import LoadedLtx2, RawLtx2, load, picture


def _levels(pipeline: object) -> list[float]:
    return pipeline.scheduler.sigmas.tolist()  # type: ignore[attr-defined, no-any-return]


def test_eight_distilled_steps_take_the_table_unwarped(ltx2: LoadedLtx2) -> None:
    ltx2.make(steps=8)
    levels = _levels(ltx2.stage._pipelines.from_text)
    assert levels == pytest.approx([*DISTILLED_SIGMAS, 0.0], abs=1e-7)


def test_diffusers_warps_the_table_with_the_published_scheduler(raw_ltx2: RawLtx2) -> None:
    raw_ltx2.call(sigmas=list(DISTILLED_SIGMAS), num_inference_steps=8)
    levels = _levels(raw_ltx2.from_text)
    assert levels[-2] == pytest.approx(0.1, abs=1e-4)
    assert levels[5] != pytest.approx(DISTILLED_SIGMAS[5], abs=1e-2)


def test_ten_steps_take_the_reference_list_whatever_the_size(ltx2: LoadedLtx2) -> None:
    for width in (64, 256):
        ltx2.make(steps=10, width=width, image=picture(64, 64))
        levels = _levels(ltx2.stage._pipelines.from_image)
        assert levels == pytest.approx([*reference_sigmas(10), 0.0], abs=1e-6)
    assert ltx2.desk.warnings == []


def test_diffusers_shifts_by_the_size_of_the_clip(raw_ltx2: RawLtx2) -> None:
    levels = []
    for width in (64, 512):
        raw_ltx2.call(sigmas=None, num_inference_steps=10, width=width)
        levels.append(_levels(raw_ltx2.from_text))
    assert levels[0] != pytest.approx(levels[1], abs=1e-3)
    assert levels[0] != pytest.approx([*reference_sigmas(10), 0.0], abs=1e-3)


@pytest.mark.parametrize("steps", [4, 9, 30])
def test_other_counts_on_distilled_weights_are_warned_of(ltx2: LoadedLtx2, steps: int) -> None:
    ltx2.make(steps=steps, frames=1)
    assert ltx2.desk.warnings == [f"{steps} steps are off the schedule of distilled weights, which is 8 (or 10)"]
    assert ltx2.desk.notes["ltx2"]["steps"] == steps


def test_other_counts_on_other_weights_are_not(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    loaded = load(tiny_ltx2_dir, tmp_path, distilled=False)
    loaded.make(steps=4)
    assert loaded.desk.warnings == []


def test_one_step_is_finite_where_diffusers_makes_nan(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    assert ltx2.make(steps=1).frames.std() > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        assert np.isnan(raw_ltx2.call(sigmas=None, num_inference_steps=1).frames).all()


def test_a_trailing_zero_makes_nan_of_frames_and_sound_in_diffusers(raw_ltx2: RawLtx2) -> None:
    with raw_ltx2.static():
        raw = raw_ltx2.call(sigmas=[1.0, 0.5, 0.0], num_inference_steps=3)
    assert np.isnan(raw.frames).all()
    assert raw.audio.isnan().any()


def test_each_pipeline_has_a_scheduler_of_its_own_where_from_pipe_shares_it(
    ltx2: LoadedLtx2, raw_ltx2: RawLtx2
) -> None:
    pipelines = ltx2.stage._pipelines
    assert len({id(one.scheduler) for one in (pipelines.encoder, pipelines.from_text, pipelines.from_image)}) == 3
    assert raw_ltx2.from_text.scheduler is raw_ltx2.from_image.scheduler


def test_the_pipelines_share_their_weights(ltx2: LoadedLtx2) -> None:
    pipelines = ltx2.stage._pipelines
    for name in ("transformer", "vae", "audio_vae", "vocoder"):
        parts = {id(getattr(one, name)) for one in (pipelines.encoder, pipelines.from_text, pipelines.from_image)}
        assert len(parts) == 1
