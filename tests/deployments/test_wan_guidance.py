"""What a step of Wan 2.2 costs and which expert makes it, and what prompts and scales have an effect."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from diffusers.pipelines.wan import pipeline_wan_i2v
from safetensors.torch import load_file, save_file

from deployments.generate.wan import Wan
from deployments.nets.wan_sampling import Guidance, Variant, guidance_of, shift_of, split_steps
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.media import VideoShape
from tests.deployments.loaded_ltx2 import batches, picture, quantised
from tests.deployments.loaded_video import LoadedVideo
from tests.deployments.loaded_wan import RawWan, load, load_raw
from tests.deployments.tiny_wan import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wan") / "tiny-wan")


@pytest.fixture(scope="module")
def image_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wan") / "tiny-wan", "i2v-a14b")


@pytest.fixture(scope="module")
def wan(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedVideo:
    return load(directory, tmp_path_factory.mktemp("desk"), "t2v-a14b")


@pytest.fixture(scope="module")
def raw(directory: Path) -> RawWan:
    return load_raw(directory, has_image=False)


# --- forward passes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("guidance", "per_step"), [(1.0, 1), (4.0, 2)])
def test_a_step_is_one_pass_or_two_of_the_expert_whose_turn_it_is(
    wan: LoadedVideo, guidance: float, per_step: int
) -> None:
    part = wan.stage._pipelines.encoder
    with batches(part.transformer) as high, batches(part.transformer_2) as low:
        wan.make(steps=6, guidance=guidance)
    facts = wan.desk.notes["wan"]
    assert facts["evaluations_per_step"] == per_step
    assert [len(high), len(low)] == [per_step * steps for steps in facts["steps_of_experts"]]
    assert sum(facts["steps_of_experts"]) == 6
    assert min(facts["steps_of_experts"]) > 0
    assert set(high + low) == {1}


def test_steps_are_split_at_the_boundary() -> None:
    assert split_steps([999, 950, 875, 874, 500], 875.0) == (3, 2)
    assert split_steps([999, 500], None) == (2, 0)


# --- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "given", "in_effect"),
    [
        ("t2v-a14b", (None, None), Guidance(4.0, 3.0)),
        ("t2v-a14b", (6.0, None), Guidance(6.0, 3.0)),
        ("t2v-a14b", (2.0, None), Guidance(2.0, 2.0)),
        ("t2v-a14b", (2.0, 5.0), Guidance(2.0, 5.0)),
        ("t2v-a14b", (1.0, None), Guidance(1.0, 1.0)),
        ("i2v-a14b", (None, None), Guidance(3.5, 3.5)),
        ("ti2v-5b", (None, None), Guidance(5.0, None)),
    ],
)
def test_scales_left_out_are_the_authors(
    variant: Variant, given: tuple[float | None, float | None], in_effect: Guidance
) -> None:
    assert guidance_of(variant, *given) == in_effect


def test_each_scale_reaches_its_expert(wan: LoadedVideo, raw: RawWan) -> None:
    clip = wan.make(guidance=6.0, guidance_low=2.0)
    made = raw.call(shift=12.0, guidance_scale=6.0, guidance_scale_2=2.0)
    assert np.array_equal(clip.frames, quantised(made))
    assert not np.array_equal(clip.frames, wan.make(guidance=6.0, guidance_low=5.0).frames)


def test_a_low_scale_is_refused_at_guidance_1_where_diffusers_ignores_it(raw: RawWan) -> None:
    with pytest.raises(InvalidInput, match="guidance_low: guidance 1 turns guidance off for both experts"):
        Wan.plan(Wan.Params(guidance=1.0, guidance_low=3.0))
    with batches(raw.pipeline.transformer_2) as low:
        with_it = raw.call(shift=12.0, guidance_scale=1.0, guidance_scale_2=3.0)
    assert len(low) == 1
    assert np.array_equal(with_it, raw.call(shift=12.0, guidance_scale=1.0))


def test_a_low_scale_is_refused_where_there_is_one_expert() -> None:
    with pytest.raises(InvalidInput, match="guidance_low: ti2v-5b has one transformer"):
        guidance_of("ti2v-5b", None, 3.0)


def test_a_low_scale_without_a_low_step_is_warned_of(wan: LoadedVideo) -> None:
    wan.make(steps=1, guidance_low=3.0)
    assert wan.desk.warnings == ["guidance_low has no effect: all 1 steps are the high-noise expert's"]


def test_the_shift_is_the_authors_for_that_size() -> None:
    large, small = VideoShape(81, 720, 1280), VideoShape(81, 480, 832)
    assert [shift_of("t2v-a14b", shape) for shape in (large, small)] == [12.0, 12.0]
    assert [shift_of("i2v-a14b", shape) for shape in (large, small)] == [5.0, 3.0]
    assert [shift_of("ti2v-5b", shape) for shape in (large, small)] == [5.0, 5.0]


def test_steps_on_one_noise_level_are_refused_where_diffusers_breaks_off_at_the_end(
    image_directory: Path, tmp_path: Path
) -> None:
    crowded: dict[str, Any] = {"steps": 100, "flow_shift": 20.0}
    with pytest.raises(InvalidInput, match="steps: 100 at flow_shift 20 put two at the same noise level"):
        load(image_directory, tmp_path, "i2v-a14b").make(image=picture(64, 64), **crowded)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=20.0)
    scheduler.set_timesteps(100)
    assert scheduler.index_for_timestep(scheduler.timesteps[0]) == 1  # the first step would be made as the second


# --- prompts ---------------------------------------------------------------------------------------------------------


def test_a_negative_prompt_at_guidance_1_is_warned_of_and_changes_nothing(wan: LoadedVideo) -> None:
    plain = wan.make(guidance=1.0)
    assert wan.desk.warnings == []
    assert np.array_equal(plain.frames, wan.make(guidance=1.0, negative_prompt="blurry").frames)
    assert wan.desk.warnings == ["negative_prompt has no effect at guidance 1"]
    assert wan.desk.notes["wan"]["negative_prompt"] is None


def test_a_negative_prompt_matters_under_guidance(wan: LoadedVideo) -> None:
    one, other = (wan.make(negative_prompt=text) for text in ("blurry", "a loud crowd, sharp edges"))
    assert not np.array_equal(one.frames, other.frames)


def test_tokens_beyond_the_limit_are_counted_where_diffusers_drops_them(wan: LoadedVideo, raw: RawWan) -> None:
    clip = wan.make(prompt="a" * 20, max_prompt_tokens=16, negative_prompt="b" * 17, guidance=4.0)
    assert wan.desk.warnings == [
        "T5 reads 16 tokens of prompt: its last 6 are dropped",
        "T5 reads 16 tokens of negative_prompt: its last 3 are dropped",
    ]
    assert clip.shape.frames == 5
    made = [raw.call(prompt=text, max_sequence_length=16) for text in ("a" * 20, "a" * 30)]
    assert np.array_equal(*made)


def test_tokens_are_those_of_the_text_that_is_read(wan: LoadedVideo) -> None:
    """Wan reads a text without its markup, its mojibake mended and its spaces folded."""
    wan.make(prompt="a   &amp;  caf\u00c3\u00a9" + " " * 40, max_prompt_tokens=16)
    assert wan.desk.warnings == []


def test_ftfy_is_required_by_us_where_diffusers_needs_it_and_does_not_say(
    image_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(requirement.startswith("ftfy") for requirement in project["dependencies"])
    raw = load_raw(image_directory, has_image=True)
    monkeypatch.delattr(pipeline_wan_i2v, "ftfy")
    with pytest.raises(NameError, match="ftfy"):
        raw.call(image=picture(64, 64))


def test_a_prompt_is_encoded_once(wan: LoadedVideo) -> None:
    first = wan.make(prompt="a new one", guidance=4.0)
    with batches(wan.stage._pipelines.encoder.text_encoder) as seen:
        again = wan.make(prompt="a new one", guidance=4.0)
    assert seen == []
    assert np.array_equal(first.frames, again.frames)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_the_autoencoder_stays_in_fp32_and_the_rest_in_bf16(tmp_path: Path) -> None:
    """Also with two pipelines around them: diffusers' own `from_pipe` would have cast everything to fp32."""
    loaded = load(build(tmp_path / "tiny", "ti2v-5b"), tmp_path / "desk", "ti2v-5b", dtype="bf16")
    loaded.make(image=picture(64, 64))
    assert (loaded.desk.notes["wan"]["dtype"], loaded.desk.notes["wan"]["vae_dtype"]) == ("bfloat16", "float32")
    part = loaded.stage._pipelines.from_image
    assert part.text_encoder.dtype == torch.bfloat16
    assert part.transformer.patch_embedding.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("built", "named"), [("i2v-a14b", "t2v-a14b"), ("t2v-a14b", "i2v-a14b"), ("ti2v-5b", "t2v-a14b")]
)
def test_weights_of_another_variant_are_refused(tmp_path: Path, built: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=rf"weights\.variant: these weights are {built}, not {named}"):
        load(build(tmp_path / "tiny", built), tmp_path / "desk", named)


def test_two_experts_without_a_boundary_are_refused_where_diffusers_uses_one(directory: Path, tmp_path: Path) -> None:
    copy = build(tmp_path / "tiny")
    index = copy / "model_index.json"
    index.write_text(index.read_text().replace('"boundary_ratio": 0.875', '"boundary_ratio": null'))
    with pytest.raises(Misconfigured, match=r"weights\.model: model_index\.json has no boundary_ratio"):
        load(copy, tmp_path / "desk", "t2v-a14b")
    raw = load_raw(copy, has_image=False)
    with batches(raw.pipeline.transformer_2) as low:
        raw.call()
    assert low == []


def test_a_second_expert_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    copy = build(tmp_path / "tiny")
    file = next((copy / "transformer_2").glob("*.safetensors"))
    tensors = load_file(file)
    tensors.pop("proj_out.weight")
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(Misconfigured, match=r"transformer_2 lacks 1 tensors, proj_out\.weight among them"):
        load(copy, tmp_path / "desk", "t2v-a14b")


def test_a_scheduler_that_knows_no_shift_is_refused(tmp_path: Path) -> None:
    copy = build(tmp_path / "tiny")
    file = copy / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace('"use_flow_sigmas": true', '"use_flow_sigmas": false'))
    with pytest.raises(
        Misconfigured, match=r"weights\.model: the scheduler is a UniPCMultistepScheduler; Wan 2\.2's is"
    ):
        load(copy, tmp_path / "desk", "t2v-a14b")
