"""`generate.ltx_video` from the outside: sizes, lengths, guidance, decoders, seeds, cancelling, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from deployments.generate.ltx_video import LtxVideo
from serve_app.core.adapter import Adapters
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured, StageError
from serve_app.core.media import Clip, Image
from serve_app.core.resize import cover_resize
from serve_app.core.stage import contract_of
from tests.deployments.loaded_ltx2 import batches, picture, quantised, replaced
from tests.deployments.loaded_ltx_video import RawLtxVideo, load, load_raw
from tests.deployments.loaded_video import LoadedVideo
from tests.deployments.tiny_ltx_video import build


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("ltx-video")
    return {decoder: build(root / f"tiny-{decoder}", decoder) for decoder in ("plain", "timestep", "inject")}


@pytest.fixture(scope="module")
def _loaded(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> LoadedVideo:
    return load(weights["timestep"], tmp_path_factory.mktemp("desk"))


@pytest.fixture
def ltx(_loaded: LoadedVideo) -> Iterator[LoadedVideo]:
    yield _loaded
    _loaded.refuse_after(None)


@pytest.fixture(scope="module")
def raw(weights: dict[str, Path]) -> RawLtxVideo:
    return load_raw(weights["timestep"])


_NOISE: dict[str, Any] = {"decode_timestep": 0.05, "decode_noise_scale": 0.025}


def _changed(field: str, value: Any) -> dict[str, Any]:
    return {field: value}


def _is_same(one: Clip, other: Clip) -> bool:
    return np.array_equal(one.frames, other.frames)


def test_its_ports_are_a_prompt_a_seed_and_perhaps_an_image_and_adapters() -> None:
    ports = contract_of("generate.ltx_video", LtxVideo).ports
    assert {name: (port.type, port.is_optional) for name, port in ports.items()} == {
        "prompt": (str, False),
        "seed": (int, False),
        "image": (Image, True),
        "adapters": (Adapters, True),
    }


# --- the same clip as diffusers, called rightly ----------------------------------------------------------------------


@pytest.mark.parametrize("has_image", [False, True])
def test_a_clip_is_what_diffusers_makes_to_the_bit(ltx: LoadedVideo, raw: RawLtxVideo, has_image: bool) -> None:
    given: dict[str, Any] = {"image": picture(64, 64)} if has_image else {}
    clip = ltx.make(negative_prompt="blurry", **given)
    made = raw.call(negative_prompt="blurry", guidance_scale=3.0, frame_rate=25, **_NOISE, **given)
    assert np.array_equal(clip.frames, quantised(made))


def test_the_first_autoencoder_is_told_no_noise(weights: dict[str, Path], tmp_path: Path) -> None:
    loaded = load(weights["plain"], tmp_path)
    assert np.array_equal(loaded.make().frames, quantised(load_raw(weights["plain"]).call()))
    facts = loaded.desk.notes["ltx_video"]
    assert (facts["decode_timestep"], facts["decode_noise_scale"]) == (None, None)


# --- the decoder's noise ---------------------------------------------------------------------------------------------


def test_the_decoders_noise_is_the_authors_where_diffusers_default_is_none(ltx: LoadedVideo, raw: RawLtxVideo) -> None:
    clip = ltx.make()
    facts = ltx.desk.notes["ltx_video"]
    assert (facts["decode_timestep"], facts["decode_noise_scale"]) == (0.05, 0.025)
    assert not np.array_equal(clip.frames, quantised(raw.call(guidance_scale=3.0)))
    silent = ltx.make(decode_timestep=0, decode_noise_scale=0)
    assert np.array_equal(silent.frames, quantised(raw.call(guidance_scale=3.0)))


@pytest.mark.parametrize("field", ["decode_timestep", "decode_noise_scale"])
def test_the_decoders_noise_is_refused_where_diffusers_ignores_it(
    weights: dict[str, Path], tmp_path: Path, field: str
) -> None:
    with pytest.raises(InvalidInput, match=f"{field}: the autoencoder of these weights reads none"):
        load(weights["plain"], tmp_path).make(**_changed(field, 0.1))
    bare = load_raw(weights["plain"])
    assert np.array_equal(bare.call(), bare.call(decode_timestep=0.9, decode_noise_scale=0.9))


def test_noise_that_the_decoder_draws_follows_the_seed_where_diffusers_draws_it_from_the_process(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    loaded, bare = load(weights["inject"], tmp_path), load_raw(weights["inject"])
    with torch.random.fork_rng():
        first = loaded.make()
        torch.randn(3)
        assert _is_same(loaded.make(), first)
        assert not np.array_equal(bare.call(**_NOISE), bare.call(**_NOISE))
        before = torch.get_rng_state()
        assert not _is_same(loaded.make(seed=8), first)
        assert torch.equal(torch.get_rng_state(), before)


# --- size, length, rate ----------------------------------------------------------------------------------------------


def test_720p_is_made_although_it_is_not_on_the_models_grid(ltx: LoadedVideo, raw: RawLtxVideo) -> None:
    clip = ltx.make(width=320, height=180, frames=1, steps=2, image=picture(320, 180))
    assert clip.frames.shape == (1, 180, 320, 3)
    assert ltx.desk.notes["ltx_video"]["native_size"] == "320x192x1"
    with pytest.raises(ValueError, match="divisible by 32"):
        raw.call(width=320, height=180)


def test_the_rows_cropped_are_the_rows_added(ltx: LoadedVideo) -> None:
    whole, part = ltx.make(width=128, height=96), ltx.make(width=101, height=75)
    assert part.frames.shape == (9, 75, 101, 3)
    assert np.array_equal(part.frames, whole.frames[:, 10:85, 13:114])
    assert part.frames.flags.c_contiguous


def test_frames_off_the_grid_are_refused_where_diffusers_drops_them(raw: RawLtxVideo) -> None:
    with pytest.raises(InvalidInput, match=r"frames: 24 is not 8k.1; the nearest are 17 and 25"):
        LtxVideo.plan(LtxVideo.Params(frames=24))
    assert raw.call(num_frames=24).shape[1] == 17


def test_the_rate_is_an_input_of_the_model(ltx: LoadedVideo, raw: RawLtxVideo) -> None:
    slow, fast = ltx.make(fps=24), ltx.make(fps=29.97)
    assert not _is_same(slow, fast)
    assert fast.fps == Fraction(30000, 1001)
    made = raw.call(guidance_scale=3.0, frame_rate=30000 / 1001, **_NOISE)
    assert np.array_equal(fast.frames, quantised(made))
    assert ltx.desk.warnings == []


def test_a_rate_it_was_not_trained_on_is_warned_of(ltx: LoadedVideo) -> None:
    ltx.make(fps=50)
    assert ltx.desk.warnings == ["LTX-Video was trained near 24, 25 and 30 fps; 50 changes how it moves"]


def test_a_wide_picture_is_cut_where_diffusers_stretches_it(ltx: LoadedVideo, raw: RawLtxVideo) -> None:
    import PIL.Image

    wide, cut = picture(256, 64), Image(cover_resize(picture(256, 64).pixels, 64, 64))
    assert _is_same(ltx.make(image=wide), ltx.make(image=cut))
    small = PIL.Image.fromarray(wide.pixels).resize((64, 64), PIL.Image.Resampling.LANCZOS)
    assert np.array_equal(*(raw.call(image=one) for one in (wide, Image(np.asarray(small)))))


# --- steps and guidance ----------------------------------------------------------------------------------------------


def test_a_single_step_is_refused_where_diffusers_fails(raw: RawLtxVideo) -> None:
    with pytest.raises(InvalidInput, match="steps: 1 cannot both begin at full noise"):
        LtxVideo.plan(LtxVideo.Params(steps=1))
    with pytest.warns(RuntimeWarning, match="invalid value"), pytest.raises(IndexError):
        raw.call(num_inference_steps=1)


def test_timesteps_of_ones_own_are_no_parameter_because_diffusers_cannot_take_them(raw: RawLtxVideo) -> None:
    assert "timesteps" not in LtxVideo.Params.model_fields
    with pytest.raises(ValueError, match="Only one of `timesteps` or `sigmas`"):
        raw.call(timesteps=[1000, 500])


@pytest.mark.parametrize(("guidance", "batch"), [(1.0, 1), (3.0, 2)])
@pytest.mark.parametrize("has_image", [False, True])
def test_a_step_is_one_pass_of_one_or_of_two(ltx: LoadedVideo, guidance: float, batch: int, has_image: bool) -> None:
    with batches(ltx.stage._pipelines.encoder.transformer) as seen:
        ltx.make(guidance=guidance, image=picture(64, 64) if has_image else None)
    assert seen == [batch] * 3
    assert ltx.desk.notes["ltx_video"]["evaluations_per_step"] == batch


def test_a_negative_prompt_at_guidance_1_is_warned_of_and_changes_nothing(ltx: LoadedVideo, raw: RawLtxVideo) -> None:
    plain, other = ltx.make(guidance=1.0), ltx.make(guidance=1.0, negative_prompt="blurry")
    assert ltx.desk.warnings == ["negative_prompt has no effect at guidance 1"]
    assert _is_same(plain, other)
    quiet = [raw.call(guidance_scale=1.0, negative_prompt=text) for text in (None, "blurry")]
    assert np.array_equal(*quiet)


def test_a_negative_prompt_matters_under_guidance(ltx: LoadedVideo) -> None:
    one, other = (ltx.make(negative_prompt=text) for text in ("blurry", "a loud crowd, sharp edges"))
    assert not _is_same(one, other)


def test_distilled_weights_have_defaults_of_their_own(weights: dict[str, Path], tmp_path: Path) -> None:
    loaded = load(weights["timestep"], tmp_path, distilled=True)
    loaded.make(steps=None)
    facts = loaded.desk.notes["ltx_video"]
    assert (facts["steps"], facts["guidance"], loaded.desk.warnings) == (8, 1.0, [])
    loaded.make(guidance=3.0, steps=8)
    assert loaded.desk.warnings == ["distilled weights are made for guidance 1; 3 costs twice as much"]
    loaded.make(steps=3)
    assert loaded.desk.warnings == ["distilled weights are made for 8 steps (or 7) at levels of their own, not for 3"]


@pytest.mark.parametrize("has_image", [False, True])
@pytest.mark.parametrize("steps", [7, 8])
def test_distilled_weights_are_sampled_at_the_authors_levels_where_diffusers_spreads_them_out(
    weights: dict[str, Path], tmp_path: Path, steps: int, has_image: bool
) -> None:
    given: dict[str, Any] = {"image": picture(64, 64)} if has_image else {}
    loaded, bare = load(weights["timestep"], tmp_path, distilled=True), load_raw(weights["timestep"])
    clip = loaded.make(steps=steps, **given)
    maker = loaded.stage._pipelines.from_image if has_image else loaded.stage._pipelines.from_text
    levels = [1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219][:steps]
    assert maker.scheduler.sigmas.tolist() == pytest.approx([*levels, 0.0], abs=1e-6)
    facts = loaded.desk.notes["ltx_video"]
    assert (facts["scheduler"], facts["use_dynamic_shifting"], facts["shift_terminal"]) == (
        "LevelsScheduler",
        False,
        None,
    )
    spread = bare.call(num_inference_steps=steps, guidance_scale=1.0, frame_rate=25, **_NOISE, **given)
    assert not np.array_equal(clip.frames, quantised(spread))


def test_other_weights_keep_their_published_schedule_after_any_number_of_steps(
    ltx: LoadedVideo, raw: RawLtxVideo
) -> None:
    clip = ltx.make(steps=8)
    made = raw.call(num_inference_steps=8, guidance_scale=3.0, frame_rate=25, **_NOISE)
    assert np.array_equal(clip.frames, quantised(made))


def test_tokens_beyond_the_limit_are_counted_where_diffusers_drops_them(ltx: LoadedVideo, raw: RawLtxVideo) -> None:
    ltx.make(prompt="a" * 200)
    assert ltx.desk.warnings == ["T5 reads 128 tokens of prompt: its last 74 are dropped"]
    made = [raw.call(prompt="a" * length) for length in (200, 300)]
    assert np.array_equal(*made)
    ltx.make(prompt="a" * 200, max_prompt_tokens=256)
    assert ltx.desk.warnings == []


# --- decoding in chunks ----------------------------------------------------------------------------------------------


def test_chunks_make_nearly_the_same_clip(weights: dict[str, Path], tmp_path: Path, ltx: LoadedVideo) -> None:
    chunked = load(weights["timestep"], tmp_path, decode="chunks")
    whole, parts = (one.make(frames=121, steps=2).frames.astype(float) for one in (ltx, chunked))
    assert whole.shape == parts.shape
    assert 0 < np.sqrt(np.mean((whole - parts) ** 2)) / 127.5 < 0.06
    assert np.abs(whole[:9] - parts[:9]).max() <= 2  # far from where the first chunk ends
    assert chunked.desk.notes["ltx_video"]["decode"] == "chunks"


def test_a_run_may_be_cancelled_between_two_chunks(weights: dict[str, Path], tmp_path: Path) -> None:
    chunked = load(weights["plain"], tmp_path, decode="chunks")
    with batches(chunked.stage._pipelines.encoder.vae.decoder) as seen:
        chunked.refuse_after(2)
        chunked.desk.cancel_after = 3  # after the last step: while decoding
        with pytest.raises(Cancelled):
            chunked.make(frames=121, steps=3)
    assert len(seen) <= 1


# --- seeds, cancelling, numbers that are not finite ------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(ltx: LoadedVideo) -> None:
    first = ltx.make(seed=2**63 - 1)
    assert _is_same(first, ltx.make(seed=2**63 - 1))
    assert not _is_same(first, ltx.make(seed=0))


def test_a_seed_out_of_range_is_refused(ltx: LoadedVideo) -> None:
    with pytest.raises(InvalidInput, match="seed: "):
        ltx.make(seed=-1)


def test_a_run_after_a_cancelled_one_gives_the_same_bytes(ltx: LoadedVideo) -> None:
    before = ltx.make(image=picture(64, 64))
    assert ltx.desk.steps == [(1, 3), (2, 3), (3, 3)]
    ltx.refuse_after(2)
    with batches(ltx.stage._pipelines.encoder.vae.decoder) as decoded, pytest.raises(Cancelled):
        ltx.make(image=picture(64, 64))
    assert decoded == []
    ltx.refuse_after(None)
    assert _is_same(ltx.make(image=picture(64, 64)), before)


def test_nan_in_the_weights_ends_in_an_error(ltx: LoadedVideo) -> None:
    bias = ltx.stage._pipelines.encoder.transformer.proj_out.bias
    with replaced(bias, float("nan")), pytest.raises(StageError, match="step 1 holds a value that is not a finite"):
        ltx.make()


def test_infinity_from_the_decoder_ends_in_an_error(ltx: LoadedVideo) -> None:
    before = ltx.make()
    bias = ltx.stage._pipelines.encoder.vae.decoder.conv_out.conv.bias
    with replaced(bias, float("inf")), pytest.raises(StageError, match="what was decoded holds"):
        ltx.make()
    assert _is_same(ltx.make(), before)


def test_parts_that_come_and_go_make_the_same_clip_also_after_a_cancelled_run(
    weights: dict[str, Path], tmp_path: Path, ltx: LoadedVideo
) -> None:
    """What `offload: model` arranges on a GPU, with the CPU as the device to come and go from."""
    offloaded = load(weights["timestep"], tmp_path)
    offloaded.stage._pipelines.encoder.enable_model_cpu_offload(device="cpu")
    assert hasattr(offloaded.stage._pipelines.from_image.transformer, "_hf_hook")
    offloaded.refuse_after(1)
    with pytest.raises(Cancelled):
        offloaded.make(image=picture(64, 64))
    offloaded.refuse_after(None)
    first, again = offloaded.make(image=picture(64, 64)), offloaded.make(image=picture(64, 64))
    assert _is_same(first, again)
    # Moved weights lie otherwise in memory than those read from a file, which on a CPU moves the last bits.
    assert np.abs(first.frames.astype(int) - ltx.make(image=picture(64, 64)).frames).max() <= 1


# --- what it says and refuses ----------------------------------------------------------------------------------------


def test_it_notes_the_parameters_in_effect(ltx: LoadedVideo) -> None:
    clip = ltx.make(width=60, height=40)
    assert ltx.desk.notes["ltx_video"] == {
        "model": "tiny-timestep",
        "revision": None,
        "distilled": False,
        "dtype": "float32",
        "size": "60x40x9",
        "native_size": "64x64x9",
        "fps": "25",
        "steps": 3,
        "scheduler": "FlowMatchEulerDiscreteScheduler",
        "use_dynamic_shifting": True,
        "shift_terminal": 0.1,
        "guidance": 3.0,
        "evaluations_per_step": 2,
        "decode_timestep": 0.05,
        "decode_noise_scale": 0.025,
        "decode": "full",
        "has_image": False,
        "negatives": "none",
        "negative_prompt": "",
        "max_prompt_tokens": 128,
    }
    assert clip.model == "tiny-timestep"
    assert json.loads(json.dumps(ltx.desk.notes, allow_nan=False)) == ltx.desk.notes


@pytest.mark.parametrize("params", [{"steps": 0}, {"guidance": 0.5}, {"width": 16}, {"decode_timestep": 2}, {"cfg": 1}])
def test_values_out_of_range_and_unknown_keys_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LtxVideo.Params(**params)


def test_the_defaults_are_a_legal_plan() -> None:
    LtxVideo.plan(LtxVideo.Params())


def test_its_mapping_names_every_param_and_the_public_words() -> None:
    public = {"steps", "guidance", "seed", "negative_prompt", "width", "height", "frames", "fps", "image", "strength"}
    assert set(LtxVideo.mapping) == public | {"adapters"} | set(LtxVideo.Params.model_fields)


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    from tests.deployments.tiny_wan import build as build_wan

    with pytest.raises(Misconfigured, match=r"weights\.model: the transformer is a WanTransformer3DModel"):
        load(build_wan(tmp_path / "tiny"), tmp_path / "desk")
