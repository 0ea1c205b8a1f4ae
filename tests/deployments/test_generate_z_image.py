"""`generate.z_image`: guidance counted from one, presets, and a prompt that stays what it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ZImageImg2ImgPipeline, ZImagePipeline
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from deployments.generate.z_image import ZImage
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured, StageError
from serve_app.core.media import Pixels
from tests.deployments.loaded_picture import PROMPT, LoadedPicture, generator, load, picture, quantised, raw, replaced
from tests.deployments.tiny_z_image import build

SMALL = {"width": 64, "height": 48, "steps": 2}
WEIGHTS = Path("transformer") / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("z") / "tiny-z")


@pytest.fixture(scope="module")
def raw_z(weights: Path) -> Any:
    return raw(ZImagePipeline, weights)


@pytest.fixture(scope="module")
def _turbo(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedPicture:
    return load(ZImage(), weights, tmp_path_factory.mktemp("desk"), SMALL)


@pytest.fixture
def turbo(_turbo: LoadedPicture) -> Iterator[LoadedPicture]:
    yield _turbo
    _turbo.desk.cancel_after = None


def bare(pipeline: Any, **changes: Any) -> Pixels:
    """Return the picture of diffusers' own call, with ``changes`` to it."""
    call = {"prompt": PROMPT, "width": 64, "height": 48, "num_inference_steps": 2, "generator": generator()}
    return quantised(pipeline(**{**call, "output_type": "np", "guidance_scale": 0.0, **changes}).images)


def evaluations(loaded: LoadedPicture, **changes: Any) -> list[int]:
    """Return how many pictures every forward pass evaluates: the transformer takes a list of them."""
    seen: list[int] = []
    handle = loaded.part.transformer.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    try:
        loaded.make(**changes)
    finally:
        handle.remove()
    return seen


# --- the same picture as diffusers, called rightly -------------------------------------------------------------------


def test_it_is_what_diffusers_makes_to_the_bit(turbo: LoadedPicture, raw_z: Any) -> None:
    ours = turbo.make()
    assert np.array_equal(ours.pixels, bare(raw_z))
    assert ours.model == "tiny-z"


def test_guided_it_is_what_diffusers_makes_to_the_bit(turbo: LoadedPicture, raw_z: Any) -> None:
    ours = turbo.make(guidance=3.0, negative_prompt="blurry")
    assert np.array_equal(ours.pixels, bare(raw_z, guidance_scale=2.0, negative_prompt="blurry"))


def test_a_picture_to_start_from_is_what_diffusers_makes_to_the_bit(turbo: LoadedPicture, raw_z: Any) -> None:
    import PIL.Image

    start = picture(64, 48)
    pipeline = ZImageImg2ImgPipeline(**raw_z.components)
    pipeline.set_progress_bar_config(disable=True)
    expected = bare(pipeline, image=PIL.Image.fromarray(start.pixels), strength=0.5, num_inference_steps=4)
    assert np.array_equal(turbo.make(image=start, strength=0.5, steps=4).pixels, expected)


# --- guidance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("guidance", "per_step"), [(0.0, 1), (1.0, 1), (1.5, 2), (4.0, 2)])
def test_a_step_costs_what_guidance_says(turbo: LoadedPicture, guidance: float, per_step: int) -> None:
    assert evaluations(turbo, guidance=guidance) == [per_step] * 2
    assert turbo.desk.notes["z_image"]["evaluations_per_step"] == per_step


def test_the_default_is_off_where_diffusers_default_is_on(turbo: LoadedPicture, raw_z: Any) -> None:
    assert evaluations(turbo) == [1, 1]
    as_published = quantised(
        raw_z(PROMPT, width=64, height=48, num_inference_steps=2, generator=generator(), output_type="np").images
    )
    assert np.array_equal(as_published, bare(raw_z, guidance_scale=5.0))
    assert not np.array_equal(as_published, turbo.make().pixels)


def test_guidance_one_of_ours_is_off_where_one_of_diffusers_is_two(turbo: LoadedPicture, raw_z: Any) -> None:
    assert np.array_equal(turbo.make(guidance=1.0).pixels, bare(raw_z, guidance_scale=0.0))
    assert np.array_equal(turbo.make(guidance=2.0).pixels, bare(raw_z, guidance_scale=1.0))


def test_guidance_between_off_and_on_is_refused_at_plan_time() -> None:
    with pytest.raises(InvalidInput, match=r"guidance: 0\.7 is neither off"):
        ZImage.plan(ZImage.Params(guidance=0.7))


def test_guidance_is_warned_of(turbo: LoadedPicture) -> None:
    turbo.make(guidance=4.5)
    assert turbo.desk.warnings == ["Turbo is made for guidance 1; 4.5 costs twice as much"]


def test_a_negative_prompt_without_effect_is_warned_of_where_diffusers_ignores_it(
    turbo: LoadedPicture, raw_z: Any
) -> None:
    plain = turbo.make().pixels
    assert np.array_equal(turbo.make(negative_prompt="blurry").pixels, plain)
    assert turbo.desk.warnings == ["negative_prompt has no effect at guidance 1"]
    assert np.array_equal(bare(raw_z, negative_prompt="blurry"), plain)


# --- presets, sizes, prompts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "steps"), [("simple", 4), ("danrisi", 8)])
def test_a_preset_is_a_number_of_steps(turbo: LoadedPicture, preset: str, steps: int) -> None:
    assert evaluations(turbo, preset=preset, steps=None) == [1] * steps


def test_steps_that_are_given_win(turbo: LoadedPicture) -> None:
    assert evaluations(turbo, preset="simple", steps=3) == [1] * 3


def test_what_it_notes_is_json_and_complete(turbo: LoadedPicture) -> None:
    turbo.make(width=50, height=40)
    facts = json.loads(json.dumps(turbo.desk.notes, allow_nan=False))["z_image"]
    assert facts == {
        "model": "tiny-z",
        "preset": "danrisi",
        "size": "50x40",
        "native_size": "64x48",
        "steps": 2,
        "seed": 7,
        "guidance": 1.0,
        "guidance_scale": 0.0,
        "negative_prompt": None,
        "cfg_normalization": False,
        "cfg_truncation": 1.0,
        "max_sequence_length": 512,
        "evaluations_per_step": 1,
        "dtype": "float32",
    }


def test_every_param_and_port_is_mapped() -> None:
    assert set(ZImage.mapping) == set(ZImage.Params.model_fields) | {"seed", "image", "adapters"}


@pytest.mark.parametrize("params", [{"steps": 0}, {"preset": "fast"}, {"guidance": -1}, {"cfg": 1}, {"height": 5000}])
def test_values_out_of_range_and_unknown_keys_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ZImage.Params(**params)


def test_an_odd_size_is_made_exactly_where_diffusers_refuses_it(turbo: LoadedPicture, raw_z: Any) -> None:
    whole, part = turbo.make(width=64, height=48), turbo.make(width=50, height=40)
    assert np.array_equal(part.pixels, whole.pixels[4:44, 7:57])
    with pytest.raises(ValueError, match="divisible by 16"):
        bare(raw_z, width=50, height=40)


def test_diffusers_writes_into_the_callers_list_of_prompts_and_we_hand_it_none(
    turbo: LoadedPicture, raw_z: Any
) -> None:
    prompts = [PROMPT]
    once = bare(raw_z, prompt=prompts)
    assert prompts != [PROMPT]
    assert not np.array_equal(bare(raw_z, prompt=prompts), once)
    assert np.array_equal(turbo.make().pixels, turbo.make().pixels)


def test_a_tail_that_is_not_read_is_warned_of(turbo: LoadedPicture) -> None:
    turbo.make(prompt="a" * 20, max_prompt_tokens=64)
    assert turbo.desk.warnings == []
    turbo.make(prompt="a" * 120, max_prompt_tokens=64)
    (warning,) = turbo.desk.warnings
    assert warning.startswith("Qwen reads 64 tokens of prompt: its last ")
    longer = turbo.make(prompt="a" * 140, max_prompt_tokens=64).pixels
    assert np.array_equal(longer, turbo.make(prompt="a" * 120, max_prompt_tokens=64).pixels)


# --- seeds, cancelling, numbers --------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(turbo: LoadedPicture) -> None:
    first = turbo.make(seed=3).pixels
    assert np.array_equal(first, turbo.make(seed=3).pixels)
    assert not np.array_equal(first, turbo.make(seed=4).pixels)


def test_a_cancelled_run_leaves_the_stage_as_it_was(turbo: LoadedPicture) -> None:
    before = turbo.make(steps=3).pixels
    turbo.desk.cancel_after = 2
    with pytest.raises(Cancelled):
        turbo.make(steps=3)
    assert turbo.desk.steps == [(1, 3), (2, 3)]
    turbo.desk.cancel_after = None
    assert np.array_equal(turbo.make(steps=3).pixels, before)


def test_nan_ends_in_an_error(turbo: LoadedPicture) -> None:
    bias = turbo.part.transformer.t_embedder.mlp[0].bias
    with replaced(bias, float("nan")), pytest.raises(StageError, match=r"generate\.z_image.*step 1 holds"):
        turbo.make()


# --- loading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x_pad_token", "cap_pad_token"])
def test_padding_that_was_never_filled_is_refused_where_diffusers_spreads_it(
    weights: Path, tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(weights, tmp_path / "copy"))
    tensors = load_file(copy / WEIGHTS)
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(Misconfigured, match=rf"weights\.model: transformer\.{name} holds a value"):
        load(ZImage(), copy, tmp_path, SMALL)
    call = {"width": 64, "height": 48, "num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "np"}
    assert np.isnan(raw(ZImagePipeline, copy)(PROMPT, generator=generator(), **call).images).any()


def test_padding_that_is_missing_is_refused(weights: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(weights, tmp_path / "copy"))
    tensors = load_file(copy / WEIGHTS)
    del tensors["cap_pad_token"]
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(Misconfigured, match="transformer lacks 1 tensors, cap_pad_token among them"):
        load(ZImage(), copy, tmp_path, SMALL)
