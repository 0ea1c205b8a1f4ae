"""`generate.flux`: the picture that diffusers makes when it is called rightly, and a word where it would say none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import FluxImg2ImgPipeline, FluxPipeline
from pydantic import ValidationError

from deployments.generate.flux import Flux
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured, StageError
from serve_app.core.media import Image, Pixels
from serve_app.core.resize import cover_resize
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
from tests.deployments.tiny_flux import build

SMALL = {"width": 64, "height": 48, "steps": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("flux")
    return {variant: build(root / variant, variant) for variant in ("dev", "schnell")}


@pytest.fixture(scope="module")
def loaded(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedPicture]:
    return {
        variant: load(Flux(), directory, tmp_path_factory.mktemp("desk"), SMALL, variant=variant)
        for variant, directory in weights.items()
    }


@pytest.fixture
def dev(loaded: dict[str, LoadedPicture]) -> Iterator[LoadedPicture]:
    yield loaded["dev"]
    loaded["dev"].desk.cancel_after = None


@pytest.fixture
def schnell(loaded: dict[str, LoadedPicture]) -> LoadedPicture:
    return loaded["schnell"]


@pytest.fixture(scope="module")
def raw_dev(weights: dict[str, Path]) -> Any:
    return raw(FluxPipeline, weights["dev"])


@pytest.fixture(scope="module")
def raw_schnell(weights: dict[str, Path]) -> Any:
    return raw(FluxPipeline, weights["schnell"])


def bare(pipeline: Any, **changes: Any) -> Pixels:
    """Return the picture of diffusers' own call, with ``changes`` to it."""
    call = {"prompt": PROMPT, "width": 64, "height": 48, "num_inference_steps": 2, "generator": generator()}
    return quantised(pipeline(**{**call, "output_type": "np", "max_sequence_length": 256, **changes}).images)


def from_image(pipeline: Any) -> Any:
    """Return diffusers' own pipeline that starts from a picture, with the same weights."""
    other = FluxImg2ImgPipeline(**pipeline.components)
    other.set_progress_bar_config(disable=True)
    return other


# --- the same picture as diffusers, called rightly -------------------------------------------------------------------


def test_it_is_what_diffusers_makes_to_the_bit(dev: LoadedPicture, raw_dev: Any) -> None:
    ours = dev.make(guidance=2.5, max_prompt_tokens=256)
    assert np.array_equal(ours.pixels, bare(raw_dev, guidance_scale=2.5))
    assert ours.model == "dev"


def test_real_guidance_is_what_diffusers_makes_to_the_bit(dev: LoadedPicture, raw_dev: Any) -> None:
    ours = dev.make(true_cfg_scale=4.0, negative_prompt="blurry", max_prompt_tokens=256)
    expected = bare(raw_dev, guidance_scale=3.5, true_cfg_scale=4.0, negative_prompt="blurry")
    assert np.array_equal(ours.pixels, expected)


def test_a_picture_to_start_from_is_what_diffusers_makes_to_the_bit(dev: LoadedPicture, raw_dev: Any) -> None:
    import PIL.Image

    start = picture(64, 48)
    expected = bare(
        from_image(raw_dev),
        image=PIL.Image.fromarray(start.pixels),
        strength=0.5,
        num_inference_steps=4,
        guidance_scale=3.5,
    )
    ours = dev.make(image=start, strength=0.5, steps=4, max_prompt_tokens=256)
    assert np.array_equal(ours.pixels, expected)


# --- guidance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.5])
def test_embedded_guidance_costs_one_pass_a_step(dev: LoadedPicture, guidance: float) -> None:
    assert forwards(dev, guidance=guidance) == [1, 1]
    assert dev.desk.notes["flux"]["evaluations_per_step"] == 1


def test_real_guidance_costs_two(dev: LoadedPicture) -> None:
    assert forwards(dev, true_cfg_scale=3.0, negative_prompt="") == [1, 1, 1, 1]
    assert dev.desk.notes["flux"]["evaluations_per_step"] == 2


def test_embedded_guidance_changes_the_picture(dev: LoadedPicture) -> None:
    assert not np.array_equal(dev.make(guidance=1.0).pixels, dev.make(guidance=20.0).pixels)


def test_real_guidance_with_nothing_to_lead_away_from_is_refused_where_diffusers_ignores_it(raw_dev: Any) -> None:
    with pytest.raises(InvalidInput, match="true_cfg_scale: needs a negative_prompt"):
        Flux.plan(Flux.Params(true_cfg_scale=4.0))
    assert np.array_equal(bare(raw_dev, true_cfg_scale=4.0), bare(raw_dev))


def test_a_negative_prompt_without_effect_is_warned_of_where_diffusers_ignores_it(
    dev: LoadedPicture, raw_dev: Any
) -> None:
    plain = dev.make()
    assert np.array_equal(dev.make(negative_prompt="blurry").pixels, plain.pixels)
    assert dev.desk.warnings == ["negative_prompt has no effect at true_cfg_scale 1"]
    assert np.array_equal(bare(raw_dev, negative_prompt="blurry"), bare(raw_dev))


def test_guidance_is_refused_by_schnell_where_diffusers_ignores_it(schnell: LoadedPicture, raw_schnell: Any) -> None:
    with pytest.raises(InvalidInput, match=r"guidance: schnell has no guidance to set; leave 3\.5 out"):
        schnell.make(guidance=3.5)
    assert np.array_equal(bare(raw_schnell, guidance_scale=3.5), bare(raw_schnell, guidance_scale=0.0))


@pytest.mark.parametrize("guidance", [0.0, 1.0, None])
def test_schnell_takes_what_stands_for_no_guidance(schnell: LoadedPicture, guidance: float | None) -> None:
    schnell.make(guidance=guidance)
    assert schnell.desk.warnings == []
    assert "guidance_scale" not in schnell.desk.notes["flux"]


def test_schnell_says_what_it_was_not_made_for(schnell: LoadedPicture) -> None:
    schnell.make(steps=5, true_cfg_scale=2.0, negative_prompt="blurry")
    assert schnell.desk.warnings == [
        "schnell is made for true_cfg_scale 1; guidance costs twice as much",
        "schnell is made for 1 to 4 steps, not for 5",
    ]


# --- defaults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "steps", "tokens"), [("dev", 28, 512), ("schnell", 4, 256)])
def test_what_is_left_out_is_what_the_variant_was_made_for(
    loaded: dict[str, LoadedPicture], variant: str, steps: int, tokens: int
) -> None:
    one = loaded[variant]
    assert forwards(one, steps=None, width=16, height=16) == [1] * steps
    facts = one.desk.notes["flux"]
    assert (facts["steps"], facts["max_sequence_length"]) == (steps, tokens)
    assert facts.get("guidance_scale") == (3.5 if variant == "dev" else None)


def test_what_it_notes_is_json_and_complete(dev: LoadedPicture) -> None:
    dev.make(image=picture(80, 80), strength=0.5, steps=4, width=60, height=40)
    facts = json.loads(json.dumps(dev.desk.notes, allow_nan=False))["flux"]
    assert facts == {
        "model": "dev",
        "variant": "dev",
        "size": "60x40",
        "native_size": "64x48",
        "steps": 4,
        "seed": 7,
        "strength": 0.5,
        "steps_run": 2,
        "guidance_scale": 3.5,
        "true_cfg_scale": 1.0,
        "max_sequence_length": 512,
        "evaluations_per_step": 1,
        "dtype": "float32",
    }


def test_every_param_and_port_is_mapped() -> None:
    assert set(Flux.mapping) == set(Flux.Params.model_fields) | {"seed", "image", "adapters"}


@pytest.mark.parametrize("params", [{"steps": 0}, {"guidance": -1}, {"width": 8}, {"strength": 1.0}, {"cfg": 1}])
def test_values_out_of_range_and_unknown_keys_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Flux.Params(**params)


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_an_odd_size_is_made_exactly_where_diffusers_makes_it_smaller(dev: LoadedPicture, raw_dev: Any) -> None:
    whole, part = dev.make(width=64, height=48), dev.make(width=50, height=40)
    assert part.pixels.shape == (40, 50, 3)
    assert np.array_equal(part.pixels, whole.pixels[4:44, 7:57])
    assert part.pixels.flags.c_contiguous
    assert bare(raw_dev, width=50, height=40).shape == (32, 48, 3)


def test_800_by_400_is_made_exactly(schnell: LoadedPicture) -> None:
    assert schnell.make(width=800, height=400, steps=1).pixels.shape == (400, 800, 3)


# --- a picture to start from -----------------------------------------------------------------------------------------


def test_a_wide_picture_is_cut_where_diffusers_stretches_it(dev: LoadedPicture, raw_dev: Any) -> None:
    import PIL.Image

    wide = picture(256, 48)
    cut = Image(cover_resize(wide.pixels, 48, 64))
    assert np.array_equal(dev.make(image=wide, steps=4).pixels, dev.make(image=cut, steps=4).pixels)
    whole = PIL.Image.fromarray(wide.pixels)
    squeezed = whole.resize((64, 48), PIL.Image.Resampling.LANCZOS)
    pipeline = from_image(raw_dev)
    assert np.array_equal(bare(pipeline, image=whole), bare(pipeline, image=squeezed))


def test_strength_is_steps(dev: LoadedPicture) -> None:
    assert forwards(dev, image=picture(64, 48), strength=0.5, steps=4) == [1, 1]
    assert dev.desk.steps == [(1, 2), (2, 2)]


def test_strength_without_a_picture_is_refused(dev: LoadedPicture) -> None:
    with pytest.raises(InvalidInput, match="strength: has an effect only with an image"):
        dev.make(strength=0.5)


def test_strength_that_would_ignore_the_picture_is_refused(dev: LoadedPicture) -> None:
    with pytest.raises(InvalidInput, match=r"strength: 0\.6 of 1 steps is rounded up to all of them"):
        dev.make(image=picture(64, 48), steps=1)


# --- prompts ---------------------------------------------------------------------------------------------------------


def test_a_tail_that_clip_does_not_read_is_warned_of(dev: LoadedPicture) -> None:
    dev.make(prompt="a" * 80)
    assert dev.desk.warnings == ["CLIP (the overall style) reads 77 tokens of prompt: its last 5 are dropped"]


def test_a_tail_that_t5_does_not_read_is_warned_of(schnell: LoadedPicture) -> None:
    schnell.make(prompt="b" * 300)
    assert schnell.desk.warnings[-1].startswith("T5 reads 256 tokens of prompt")
    beyond = schnell.make(prompt="b" * 300).pixels
    assert np.array_equal(beyond, schnell.make(prompt="b" * 290).pixels)


def test_a_negative_tail_is_warned_of_only_where_it_is_read(dev: LoadedPicture) -> None:
    dev.make(negative_prompt="c" * 80)
    assert len(dev.desk.warnings) == 1
    dev.make(negative_prompt="c" * 80, true_cfg_scale=2.0)
    assert [warning for warning in dev.desk.warnings if "negative_prompt" in warning]


def test_schnell_reads_no_more_than_it_was_made_for(schnell: LoadedPicture) -> None:
    with pytest.raises(InvalidInput, match="max_prompt_tokens: schnell reads at most 256"):
        schnell.make(max_prompt_tokens=512)


# --- seeds, taking turns, cancelling ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(dev: LoadedPicture) -> None:
    first = dev.make(seed=2**63 - 1).pixels
    assert np.array_equal(first, dev.make(seed=2**63 - 1).pixels)
    assert not np.array_equal(first, dev.make(seed=0).pixels)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(dev: LoadedPicture, seed: int) -> None:
    with pytest.raises(InvalidInput, match="seed: "):
        dev.make(seed=seed)


def test_two_threads_take_turns_and_get_their_own_pictures(dev: LoadedPicture) -> None:
    params = Flux.Params(**SMALL)
    expected = {seed: dev.make(seed=seed).pixels for seed in (1, 2, 3)}
    made: dict[int, Pixels] = {}

    def work(seed: int) -> None:
        made[seed] = dev.stage.run(params, prompt=PROMPT, seed=seed).pixels

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(made[seed], pixels) for seed, pixels in expected.items())


def test_a_cancelled_run_decodes_nothing_and_leaves_the_stage_as_it_was(dev: LoadedPicture) -> None:
    before = dev.make(image=picture(64, 48), steps=4).pixels
    decoded: list[int] = []
    handle = dev.part.vae.decoder.register_forward_pre_hook(lambda *_: decoded.append(1))
    dev.desk.cancel_after = 1
    with pytest.raises(Cancelled):
        dev.make(image=picture(64, 48), steps=4)
    handle.remove()
    assert (len(dev.desk.steps), decoded) == (1, [])
    dev.desk.cancel_after = None
    assert np.array_equal(dev.make(image=picture(64, 48), steps=4).pixels, before)


# --- numbers that are not finite -------------------------------------------------------------------------------------


def test_nan_in_the_weights_ends_in_an_error_where_diffusers_returns_it(dev: LoadedPicture, raw_dev: Any) -> None:
    with replaced(dev.part.transformer.proj_out.bias, float("nan")), pytest.raises(StageError, match="step 1 holds"):
        dev.make()
    with replaced(raw_dev.transformer.proj_out.bias, float("nan")):
        call = {"width": 64, "height": 48, "num_inference_steps": 1, "output_type": "np"}
        assert np.isnan(raw_dev(PROMPT, generator=generator(), **call).images).all()


def test_infinity_from_the_decoder_ends_in_an_error_where_diffusers_returns_white(
    dev: LoadedPicture, raw_dev: Any
) -> None:
    with replaced(dev.part.vae.decoder.conv_out.bias, float("inf")), pytest.raises(StageError, match="the picture"):
        dev.make()
    with replaced(raw_dev.vae.decoder.conv_out.bias, float("inf")):
        assert (bare(raw_dev) == 255).all()


# --- loading ---------------------------------------------------------------------------------------------------------


def test_the_variant_is_held_against_the_weights(weights: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.variant: these are weights of dev, not of schnell"):
        load(Flux(), weights["dev"], tmp_path, SMALL, variant="schnell")


def test_bf16_weights_stay_bf16_in_both_pipelines(weights: dict[str, Path], tmp_path: Path) -> None:
    loaded = load(Flux(), weights["dev"], tmp_path, SMALL, dtype="bf16")
    assert loaded.make(image=picture(64, 48), steps=4).pixels.std() > 0
    assert loaded.desk.notes["flux"]["dtype"] == "bfloat16"
    assert FluxImg2ImgPipeline.from_pipe(loaded.part).dtype.itemsize == 4  # what diffusers does to the shared modules
