"""What a step of LTX-2 costs: one forward pass without guidance, four with it, and never a hidden one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_app.core.errors import Misconfigured
from tests.deployments.loaded_ltx2 import LoadedLtx2, RawLtx2, batches, load, picture, quantised

_OFFICIAL: dict[str, Any] = {
    "guidance_scale": 3.0,
    "stg_scale": 1.0,
    "modality_scale": 3.0,
    "guidance_rescale": 0.7,
    "audio_guidance_scale": 7.0,
    "audio_stg_scale": 1.0,
    "audio_modality_scale": 3.0,
    "audio_guidance_rescale": 0.7,
}


@pytest.mark.parametrize("has_image", [False, True])
def test_guidance_one_is_one_pass_of_batch_one_per_step(ltx2: LoadedLtx2, has_image: bool) -> None:
    with batches(ltx2.part.transformer) as seen:
        ltx2.make(steps=4, guidance=1.0, image=picture(64, 64) if has_image else None)
    assert seen == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("passed", "per_step"),
    [
        (("guidance_scale",), [2, 1, 1]),
        (("guidance_scale", "audio_guidance_scale"), [1, 1, 1]),
        (("guidance_scale", "stg_scale", "modality_scale", "guidance_rescale"), [2, 1, 1]),
    ],
)
def test_diffusers_runs_more_when_a_knob_is_left_at_its_default(
    raw_ltx2: RawLtx2, passed: tuple[str, ...], per_step: list[int]
) -> None:
    left: dict[str, Any] = {name: value for name, value in _OFFICIAL.items() if name not in passed}
    with raw_ltx2.static(), batches(raw_ltx2.from_text.transformer) as seen:
        raw_ltx2.call(**left)
    assert seen == per_step * 3


def test_diffusers_reads_a_sound_knob_of_zero_as_the_pictures_knob(raw_ltx2: RawLtx2) -> None:
    with raw_ltx2.static():
        raw_ltx2.call(stg_scale=1.0, audio_stg_scale=0.0, spatio_temporal_guidance_blocks=[2])
    assert raw_ltx2.from_text.audio_stg_scale == 1.0


def test_a_negative_prompt_at_guidance_one_is_warned_of_and_changes_nothing(ltx2: LoadedLtx2) -> None:
    plain = ltx2.make()
    assert ltx2.desk.warnings == ["3 steps are off the schedule of distilled weights, which is 8 (or 10)"]
    ltx2.clear()
    with_negative = ltx2.make(negative_prompt="blurry")
    assert np.array_equal(plain.frames, with_negative.frames)
    assert "negative_prompt has no effect at guidance 1" in ltx2.desk.warnings


def test_guidance_above_one_is_four_evaluations_per_step(ltx2: LoadedLtx2) -> None:
    with batches(ltx2.part.transformer) as seen:
        ltx2.make(guidance=3.0)
    assert seen == [2, 1, 1] * 3
    assert ltx2.desk.notes["ltx2"]["guidance"] == _OFFICIAL
    assert ltx2.desk.notes["ltx2"]["stg_blocks"] == [2]


def test_guidance_is_what_diffusers_makes_of_the_authors_knobs(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    clip = ltx2.make(guidance=3.0, negative_prompt="blurry")
    with raw_ltx2.static():
        raw = raw_ltx2.call(negative_prompt="blurry", spatio_temporal_guidance_blocks=[2], **_OFFICIAL)
    # Prompts are encoded one by one here and together there, which moves the last bits.
    assert np.abs(clip.frames.astype(int) - quantised(raw.frames)).max() <= 1


def test_a_negative_prompt_matters_under_guidance(ltx2: LoadedLtx2) -> None:
    one, other = (ltx2.make(guidance=3.0, negative_prompt=text) for text in ("blurry", "a loud crowd, sharp edges"))
    assert not np.array_equal(one.frames, other.frames)


def test_guidance_on_distilled_weights_is_warned_of(ltx2: LoadedLtx2) -> None:
    ltx2.make(steps=8, guidance=3.0)
    assert ltx2.desk.warnings == ["distilled weights are made for guidance 1; 3 costs 4 times as much"]


def test_guidance_on_other_weights_is_not_warned_of(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    loaded = load(tiny_ltx2_dir, tmp_path, distilled=False)
    loaded.make(steps=3, guidance=3.0)
    assert loaded.desk.warnings == []


def test_an_stg_block_beyond_the_weights_is_an_error_where_diffusers_pays_for_nothing(
    tiny_ltx2_dir: Path, tmp_path: Path, raw_ltx2: RawLtx2
) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.stg_blocks: 29 of the transformer's blocks 0 to 3"):
        load(tiny_ltx2_dir, tmp_path, distilled=False, stg_blocks=None)
    knobs: dict[str, Any] = {"guidance_rescale": 0.0, "audio_guidance_rescale": 0.0}
    with raw_ltx2.static(), batches(raw_ltx2.from_text.transformer) as seen:
        off = raw_ltx2.call(**knobs)
        beyond = raw_ltx2.call(stg_scale=1.0, audio_stg_scale=1.0, spatio_temporal_guidance_blocks=[29], **knobs)
    assert len(seen) == 3 + 6
    assert np.abs(off.frames - beyond.frames).max() < 1e-5


def test_an_stg_block_beyond_distilled_weights_is_an_error_once_guidance_asks_for_it(
    tiny_ltx2_dir: Path, tmp_path: Path
) -> None:
    loaded = load(tiny_ltx2_dir, tmp_path, stg_blocks=None)
    assert loaded.make().shape.frames == 9
    with pytest.raises(Misconfigured, match=r"weights\.stg_blocks"):
        loaded.make(guidance=3.0)


def test_version_2_0_does_without_the_cross_timestep_that_diffusers_defaults_to(
    ltx2: LoadedLtx2, raw_ltx2: RawLtx2
) -> None:
    clip = ltx2.make(image=picture(64, 64))
    with raw_ltx2.static():
        with_it = raw_ltx2.call(image=picture(64, 64), use_cross_timestep=True, image_crf=33)
    assert not np.array_equal(clip.frames, quantised(with_it.frames))
