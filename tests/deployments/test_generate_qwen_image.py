"""`generate.qwen_image`: guidance that is really on or really off, and Lightning whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageImg2ImgPipeline, QwenImagePipeline
from pydantic import ValidationError
from safetensors.torch import load_file

from deployments.generate.qwen_image import SIZES, Aspect, QwenImage
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured, StageError
from serve_app.core.media import Pixels
from tests.deployments.loaded_picture import (
    PROMPT,
    LoadedPicture,
    forwards,
    generator,
    load,
    picture,
    quantised,
    raw,
    replaced,
)
from tests.deployments.tiny_qwen_image import BLOCKS, TARGETS, adapter, build, save

SMALL = {"width": 64, "height": 48, "steps": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("qwen") / "tiny-qwen")


@pytest.fixture(scope="module")
def raw_qwen(weights: Path) -> Any:
    return raw(QwenImagePipeline, weights)


@pytest.fixture(scope="module")
def lightning_file(raw_qwen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(adapter(raw_qwen.transformer), tmp_path_factory.mktemp("adapter") / "lightning.safetensors")


@pytest.fixture(scope="module")
def _standard(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedPicture:
    return load(QwenImage(), weights, tmp_path_factory.mktemp("desk"), SMALL)


@pytest.fixture
def standard(_standard: LoadedPicture) -> Iterator[LoadedPicture]:
    yield _standard
    _standard.desk.cancel_after = None


@pytest.fixture(scope="module")
def lightning(weights: Path, lightning_file: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedPicture:
    adapted = {"variant": "lightning", "lightning": str(lightning_file)}
    small = {"width": 64, "height": 48}
    return load(QwenImage(), weights, tmp_path_factory.mktemp("desk"), small, **adapted)


@pytest.fixture(scope="module")
def fallen(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedPicture:
    """Return a stage whose adapter is missing, and which may stand in for it."""
    missing = {"variant": "lightning", "lightning": "/nowhere/lightning.safetensors", "allow_fallback": True}
    small = {"width": 16, "height": 16, "allow_fallback": True}
    return load(QwenImage(), weights, tmp_path_factory.mktemp("desk"), small, **missing)


def bare(pipeline: Any, **changes: Any) -> Pixels:
    """Return the picture of diffusers' own call, with ``changes`` to it."""
    call = {"prompt": PROMPT, "width": 64, "height": 48, "num_inference_steps": 2, "generator": generator()}
    return quantised(pipeline(**{**call, "output_type": "np", "max_sequence_length": 1024, **changes}).images)


# --- the same picture as diffusers, called rightly -------------------------------------------------------------------


def test_it_is_what_diffusers_makes_to_the_bit(standard: LoadedPicture, raw_qwen: Any) -> None:
    ours = standard.make(guidance=3.0, negative_prompt="blurry")
    assert np.array_equal(ours.pixels, bare(raw_qwen, true_cfg_scale=3.0, negative_prompt="blurry"))
    assert ours.model == "tiny-qwen"


def test_a_picture_to_start_from_is_what_diffusers_makes_to_the_bit(standard: LoadedPicture, raw_qwen: Any) -> None:
    import PIL.Image

    start = picture(64, 48)
    pipeline = QwenImageImg2ImgPipeline(**raw_qwen.components)
    pipeline.set_progress_bar_config(disable=True)
    changes = {"image": PIL.Image.fromarray(start.pixels), "strength": 0.5, "num_inference_steps": 4}
    expected = bare(pipeline, **changes, negative_prompt=" ", true_cfg_scale=4.0)
    assert np.array_equal(standard.make(image=start, strength=0.5, steps=4).pixels, expected)


# --- guidance --------------------------------------------------------------------------------------------------------


def test_the_default_guides_where_diffusers_default_does_nothing(standard: LoadedPicture, raw_qwen: Any) -> None:
    ours = standard.make()
    assert np.array_equal(ours.pixels, bare(raw_qwen, negative_prompt=" ", true_cfg_scale=4.0))
    unguided = bare(raw_qwen, true_cfg_scale=1.0)
    assert np.array_equal(bare(raw_qwen), unguided)  # its default of 4 without a negative prompt
    assert not np.array_equal(ours.pixels, unguided)


def test_guidance_scale_is_what_the_pipeline_ignores(raw_qwen: Any) -> None:
    assert np.array_equal(bare(raw_qwen, guidance_scale=9.0), bare(raw_qwen))


@pytest.mark.parametrize(("guidance", "per_step"), [(None, 2), (4.0, 2), (1.5, 2), (1.0, 1), (0.0, 1)])
def test_a_step_costs_what_guidance_says(standard: LoadedPicture, guidance: float | None, per_step: int) -> None:
    assert forwards(standard, guidance=guidance) == [1] * 2 * per_step
    assert standard.desk.notes["qwen_image"]["evaluations_per_step"] == per_step


def test_guidance_between_off_and_on_is_refused_at_plan_time() -> None:
    with pytest.raises(InvalidInput, match=r"guidance: 0\.5 is neither off, which is 0 or 1, nor above 1"):
        QwenImage.plan(QwenImage.Params(guidance=0.5))


def test_a_negative_prompt_without_effect_is_warned_of(standard: LoadedPicture) -> None:
    plain = standard.make(guidance=1.0).pixels
    assert np.array_equal(standard.make(guidance=1.0, negative_prompt="blurry").pixels, plain)
    assert standard.desk.warnings == ["negative_prompt has no effect at guidance 1"]


def test_a_negative_prompt_with_effect_changes_the_picture(standard: LoadedPicture) -> None:
    assert not np.array_equal(standard.make(negative_prompt="blurry").pixels, standard.make().pixels)
    assert standard.desk.warnings == []


# --- defaults, sizes, prompts ----------------------------------------------------------------------------------------


def test_what_is_left_out_is_what_standard_was_made_for(standard: LoadedPicture) -> None:
    assert forwards(standard, steps=None, width=16, height=16) == [1] * 100
    facts = json.loads(json.dumps(standard.desk.notes, allow_nan=False))["qwen_image"]
    assert facts == {
        "model": "tiny-qwen",
        "variant": "standard",
        "dtype": "float32",
        "size": "16x16",
        "native_size": "16x16",
        "steps": 50,
        "seed": 7,
        "true_cfg_scale": 4.0,
        "negative_prompt": " ",
        "max_sequence_length": 1024,
        "evaluations_per_step": 2,
    }


def test_every_param_and_port_is_mapped() -> None:
    assert set(QwenImage.mapping) == set(QwenImage.Params.model_fields) | {"seed", "image", "adapters"}


@pytest.mark.parametrize("params", [{"steps": 0}, {"guidance": -1}, {"max_prompt_tokens": 2000}, {"true_cfg_scale": 4}])
def test_values_out_of_range_and_unknown_keys_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QwenImage.Params(**params)


@pytest.mark.parametrize("aspect", SIZES)
def test_an_aspect_ratio_is_a_size_on_the_grid_of_that_shape(aspect: Aspect) -> None:
    width, height = SIZES[aspect]
    across, up = (int(part) for part in aspect.split(":"))
    assert (width % 16, height % 16) == (0, 0)
    assert width / height == pytest.approx(across / up, rel=0.01)


def test_an_aspect_ratio_decides_the_size(standard: LoadedPicture) -> None:
    job = standard.stage._job(QwenImage.Params(aspect_ratio="16:9"), 7, None)
    assert job.facts["size"] == job.facts["native_size"] == "1664x928"
    assert standard.stage._job(QwenImage.Params(), 7, None).facts["size"] == "1328x1328"


@pytest.mark.parametrize("field", ["width", "height"])
def test_an_aspect_ratio_beside_a_size_is_refused_at_plan_time(field: str) -> None:
    with pytest.raises(InvalidInput, match="aspect_ratio: decides width and height"):
        QwenImage.plan(QwenImage.Params.model_validate({"aspect_ratio": "1:1", field: 1328}))


def test_an_odd_size_is_made_exactly_where_diffusers_makes_it_smaller(standard: LoadedPicture, raw_qwen: Any) -> None:
    whole, part = standard.make(width=64, height=48), standard.make(width=50, height=40)
    assert np.array_equal(part.pixels, whole.pixels[4:44, 7:57])
    assert standard.desk.notes["qwen_image"]["native_size"] == "64x48"
    assert bare(raw_qwen, width=50, height=40).shape == (32, 48, 3)


def test_a_prompt_of_512_to_1024_tokens_is_read_where_diffusers_drops_its_end(
    standard: LoadedPicture, raw_qwen: Any
) -> None:
    long, other = "a" * 600, "a" * 580 + "b" * 20
    assert not np.array_equal(standard.make(prompt=long).pixels, standard.make(prompt=other).pixels)
    assert standard.desk.warnings == []
    as_published = {"max_sequence_length": 512, "true_cfg_scale": 1.0}
    assert np.array_equal(bare(raw_qwen, prompt=long, **as_published), bare(raw_qwen, prompt=other, **as_published))


def test_a_tail_that_is_not_read_is_warned_of(standard: LoadedPicture) -> None:
    pipeline = standard.part
    frame = len(pipeline.tokenizer(pipeline.prompt_template_encode.format(""))["input_ids"])
    room = 64 - (frame - pipeline.prompt_template_encode_start_idx)
    if room > 0:
        standard.make(prompt="a" * room, max_prompt_tokens=64, guidance=1.0)
        assert standard.desk.warnings == []
    standard.make(prompt="a" * 500, max_prompt_tokens=64, guidance=1.0)
    assert standard.desk.warnings == [f"Qwen reads 64 tokens of prompt: its last {500 - room} are dropped"]


def test_a_single_step_is_refused_where_diffusers_divides_by_zero(standard: LoadedPicture, raw_qwen: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        standard.make(steps=1)
    assert caught.value.field == "steps"
    with pytest.warns(RuntimeWarning, match="invalid value"):
        raw_qwen.scheduler.set_timesteps(sigmas=[1.0], mu=0.9)
    assert raw_qwen.scheduler.sigmas.isnan().any()


# --- seeds, cancelling, numbers --------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(standard: LoadedPicture) -> None:
    first = standard.make(seed=3).pixels
    assert np.array_equal(first, standard.make(seed=3).pixels)
    assert not np.array_equal(first, standard.make(seed=4).pixels)


def test_a_cancelled_run_leaves_the_stage_as_it_was(standard: LoadedPicture) -> None:
    before = standard.make(steps=3).pixels
    standard.desk.cancel_after = 1
    with pytest.raises(Cancelled):
        standard.make(steps=3)
    assert standard.desk.steps == [(1, 3)]
    standard.desk.cancel_after = None
    assert np.array_equal(standard.make(steps=3).pixels, before)


def test_nan_ends_in_an_error(standard: LoadedPicture) -> None:
    bias = standard.part.transformer.proj_out.bias
    with replaced(bias, float("nan")), pytest.raises(StageError, match=r"generate\.qwen_image.*step 1 holds"):
        standard.make()


# --- Lightning -------------------------------------------------------------------------------------------------------


def test_lightning_is_four_steps_of_one_pass(lightning: LoadedPicture) -> None:
    assert forwards(lightning) == [1, 1, 1, 1]
    facts = lightning.desk.notes["qwen_image"]
    assert (facts["variant"], facts["steps"], facts["true_cfg_scale"]) == ("lightning", 4, 1.0)
    assert (facts["adapted_modules"], facts["fallback"]) == (BLOCKS * len(TARGETS), False)
    assert lightning.desk.warnings == []


def test_lightning_is_what_diffusers_makes_with_the_adapter_and_its_schedule(
    lightning: LoadedPicture, weights: Path, lightning_file: Path
) -> None:
    pipeline = raw(QwenImagePipeline, weights)
    pipeline.load_lora_weights(load_file(lightning_file), adapter_name="quick")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    bare(pipeline, num_inference_steps=4, true_cfg_scale=1.0)
    assert [round(float(sigma), 2) for sigma in pipeline.scheduler.sigmas] == [1.0, 0.74, 0.42, 0.02, 0.0]
    shift = math.log(3)
    pipeline.scheduler = pipeline.scheduler.from_config(
        pipeline.scheduler.config, base_shift=shift, max_shift=shift, shift_terminal=None
    )
    expected = bare(pipeline, num_inference_steps=4, true_cfg_scale=1.0)
    assert np.abs(lightning.make().pixels.astype(int) - expected).max() <= 1
    used = lightning.part.scheduler.sigmas
    assert [round(float(sigma), 2) for sigma in used] == [1.0, 0.9, 0.75, 0.5, 0.0]
    assert torch.equal(used, pipeline.scheduler.sigmas)


def test_both_pipelines_have_lightnings_schedule(lightning: LoadedPicture) -> None:
    painter = lightning.stage._painter
    for pipeline in (painter.from_text, painter.from_image):
        config = pipeline.scheduler.config
        assert (config.base_shift, config.max_shift, config.shift) == (math.log(3), math.log(3), 1.0)
        assert (config.shift_terminal, config.use_dynamic_shifting) == (None, True)
        assert config.time_shift_type == "exponential"


def test_lightning_says_what_it_was_not_made_for(lightning: LoadedPicture) -> None:
    lightning.make(steps=6, guidance=4.0)
    assert lightning.desk.warnings == [
        "Lightning is made for guidance 1; 4 costs twice as much",
        "this Lightning is made for 4 steps, not for 6",
    ]


def test_eight_steps_are_another_adapters_default(weights: Path, lightning_file: Path, tmp_path: Path) -> None:
    adapted = {"variant": "lightning", "lightning": str(lightning_file), "lightning_steps": 8}
    assert forwards(load(QwenImage(), weights, tmp_path, {"width": 16, "height": 16}, **adapted)) == [1] * 8


def test_weights_that_hold_lightning_already_need_the_schedule_alone(weights: Path, tmp_path: Path) -> None:
    merged = {"variant": "lightning", "lightning": "merged"}
    loaded = load(QwenImage(), weights, tmp_path, {"width": 16, "height": 16}, **merged)
    assert forwards(loaded) == [1] * 4
    assert loaded.part.scheduler.config.shift_terminal is None


@pytest.mark.parametrize("fields", [{"variant": "lightning"}, {"lightning": "merged"}])
def test_a_variant_and_an_adapter_come_together(weights: Path, tmp_path: Path, fields: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.lightning: is needed for the variant lightning"):
        load(QwenImage(), weights, tmp_path, SMALL, **fields)


# --- when Lightning cannot be loaded ---------------------------------------------------------------------------------


def test_without_leave_a_missing_adapter_stops_the_deployment(weights: Path, tmp_path: Path) -> None:
    missing = {"variant": "lightning", "lightning": "/nowhere/lightning.safetensors"}
    with pytest.raises(Misconfigured, match=r"weights\.lightning: there is no file /nowhere/lightning"):
        load(QwenImage(), weights, tmp_path, SMALL, **missing)


def test_a_request_that_allows_no_fallback_is_refused(fallen: LoadedPicture) -> None:
    with pytest.raises(Misconfigured, match="there is no file"):
        fallen.make(allow_fallback=False)


def test_a_request_that_allows_it_gets_the_standard_way_and_is_told(fallen: LoadedPicture) -> None:
    assert forwards(fallen, steps=4, guidance=1.0) == [1] * 100
    facts = fallen.desk.notes["qwen_image"]
    assert (facts["fallback"], facts["variant"], facts["steps"], facts["true_cfg_scale"]) == (True, "standard", 50, 4.0)
    assert len(fallen.desk.warnings) == 1
    assert "Lightning could not be loaded (there is no file" in fallen.desk.warnings[0]
    assert "standard stands in, with 50 steps, guidance 4" in fallen.desk.warnings[0]


def test_the_standard_way_is_the_standard_picture(fallen: LoadedPicture, standard: LoadedPicture) -> None:
    expected = standard.make(steps=10, width=16, height=16).pixels
    assert np.array_equal(fallen.make(steps=10).pixels, expected)
