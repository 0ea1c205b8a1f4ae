"""`generate.mochi` from the outside: sizes, lengths, steps, guidance, seeds, cancelling, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import MochiPipeline
from pydantic import ValidationError

from deployments.generate.mochi import Mochi
from deployments.nets.loading import settle
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured, StageError
from serve_app.core.media import Clip
from serve_app.core.stage import contract_of
from tests.deployments.desk import DeskContext
from tests.deployments.loaded_ltx2 import batches, quantised, replaced
from tests.deployments.loaded_video import PROMPT, SEED, LoadedVideo
from tests.deployments.tiny_mochi import build

# Mochi's transformer asks for an fp32 autocast, which there is on a GPU alone.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*CPU Autocast only supports:UserWarning")

SMALL = Mochi.Params(width=32, height=32, frames=7, steps=3)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("mochi") / "tiny-mochi")


@pytest.fixture(scope="module")
def _loaded(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedVideo:
    return _load(directory, tmp_path_factory.mktemp("desk"))


def _load(directory: Path, desk: Path, **weights: Any) -> LoadedVideo:
    context, stage = DeskContext(desk), Mochi()
    stage.load(Mochi.Weights(model=str(directory), **weights), context)
    return LoadedVideo(stage, context, SMALL)


@pytest.fixture
def mochi(_loaded: LoadedVideo) -> Iterator[LoadedVideo]:
    yield _loaded
    _loaded.refuse_after(None)


@pytest.fixture(scope="module")
def raw(directory: Path) -> Any:
    pipeline = MochiPipeline.from_pretrained(directory, local_files_only=True)
    settle(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _call(raw: Any, **changes: Any) -> Any:
    """Return the frames that diffusers makes, `(1, T, H, W, 3)` in 0..1."""
    call: dict[str, Any] = {
        "prompt": PROMPT,
        "width": SMALL.width,
        "height": SMALL.height,
        "num_frames": SMALL.frames,
        "num_inference_steps": SMALL.steps,
        "generator": torch.Generator("cpu").manual_seed(SEED),
        "output_type": "np",
        **changes,
    }
    return raw(**call).frames


def _is_same(one: Clip, other: Clip) -> bool:
    return np.array_equal(one.frames, other.frames)


def test_its_ports_are_a_prompt_and_a_seed_and_no_image() -> None:
    ports = contract_of("generate.mochi", Mochi).ports
    assert {name: (port.type, port.is_optional) for name, port in ports.items()} == {
        "prompt": (str, False),
        "seed": (int, False),
    }


def test_a_clip_is_what_diffusers_makes_to_the_bit(mochi: LoadedVideo, raw: Any) -> None:
    made = _call(raw, negative_prompt="blurry", guidance_scale=4.5)
    assert np.array_equal(mochi.make(negative_prompt="blurry").frames, quantised(made))


# --- size, length, rate ----------------------------------------------------------------------------------------------


def test_a_size_on_8_is_made_where_diffusers_accepts_it_and_fails(mochi: LoadedVideo, raw: Any) -> None:
    assert mochi.make(width=40, height=24, steps=2).frames.shape == (7, 24, 40, 3)
    assert mochi.desk.notes["mochi"]["native_size"] == "48x32x7"
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        _call(raw, width=40)


def test_the_rows_cropped_are_the_rows_added(mochi: LoadedVideo) -> None:
    whole, part = mochi.make(width=48, frames=1, steps=2), mochi.make(width=37, height=21, frames=1, steps=2)
    assert np.array_equal(part.frames, whole.frames[:, 5:26, 5:42])
    assert part.frames.flags.c_contiguous


def test_frames_off_the_grid_are_refused_where_diffusers_drops_them(raw: Any) -> None:
    with pytest.raises(InvalidInput, match=r"frames: 84 is not 6k.1; the nearest are 79 and 85"):
        Mochi.plan(Mochi.Params(frames=84))
    assert _call(raw, num_frames=12, num_inference_steps=2).shape[1] == 7


def test_the_rate_times_the_clip_and_nothing_else(mochi: LoadedVideo, raw: Any) -> None:
    plain = mochi.make()
    assert (plain.fps, mochi.desk.warnings) == (Fraction(30), [])
    slow = mochi.make(fps=24)
    assert slow.fps == Fraction(24)
    assert _is_same(plain, slow)
    assert mochi.desk.warnings == ["Mochi is not told the rate: it moves as at 30 fps, so 24 plays 0.8x as fast"]
    with pytest.raises(TypeError, match="frame_rate"):
        _call(raw, frame_rate=24.0)


# --- steps, guidance, prompts ----------------------------------------------------------------------------------------


def test_a_single_step_is_refused_where_diffusers_divides_by_zero(raw: Any) -> None:
    with pytest.raises(InvalidInput, match="steps: 1 cannot be halved"):
        Mochi.plan(Mochi.Params(steps=1))
    with pytest.raises(ZeroDivisionError):
        _call(raw, num_inference_steps=1)


def test_timesteps_of_ones_own_are_no_parameter_because_diffusers_cannot_take_them(raw: Any) -> None:
    assert "timesteps" not in Mochi.Params.model_fields
    with pytest.raises(ValueError, match="Only one of `timesteps` or `sigmas`"):
        _call(raw, timesteps=[1000, 500])


def test_a_scheduler_that_counts_noise_downwards_is_refused_where_diffusers_takes_it(tmp_path: Path) -> None:
    copy = build(tmp_path / "tiny", inverts=False)
    with pytest.raises(Misconfigured, match=r"weights\.model: the scheduler has no invert_sigmas"):
        _load(copy, tmp_path / "desk")
    assert not MochiPipeline.from_pretrained(copy, local_files_only=True).scheduler.config.invert_sigmas


@pytest.mark.parametrize(("guidance", "batch"), [(1.0, 1), (4.5, 2)])
def test_a_step_is_one_pass_of_one_or_of_two(mochi: LoadedVideo, guidance: float, batch: int) -> None:
    with batches(mochi.stage._pipeline.transformer) as seen:
        mochi.make(guidance=guidance)
    assert seen == [batch] * 3
    assert mochi.desk.notes["mochi"]["evaluations_per_step"] == batch


def test_a_negative_prompt_at_guidance_1_is_warned_of_and_changes_nothing(mochi: LoadedVideo, raw: Any) -> None:
    plain, other = mochi.make(guidance=1.0), mochi.make(guidance=1.0, negative_prompt="blurry")
    assert mochi.desk.warnings == ["negative_prompt has no effect at guidance 1"]
    assert _is_same(plain, other)
    quiet = [_call(raw, guidance_scale=1.0, negative_prompt=text) for text in (None, "blurry")]
    assert np.array_equal(*quiet)


def test_a_negative_prompt_matters_under_guidance(mochi: LoadedVideo) -> None:
    one, other = (mochi.make(guidance=20.0, negative_prompt=text) for text in ("blurry", "a loud crowd, sharp edges"))
    assert not _is_same(one, other)


def test_tokens_beyond_the_limit_are_counted_where_diffusers_drops_them(mochi: LoadedVideo, raw: Any) -> None:
    mochi.make(prompt="a" * 40, max_prompt_tokens=32)
    assert mochi.desk.warnings == ["T5 reads 32 tokens of prompt: its last 10 are dropped"]
    made = [_call(raw, prompt="a" * length, max_sequence_length=32) for length in (40, 60)]
    assert np.array_equal(*made)


# --- seeds, cancelling, numbers that are not finite ------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(mochi: LoadedVideo) -> None:
    first = mochi.make(seed=2**63 - 1)
    assert _is_same(first, mochi.make(seed=2**63 - 1))
    assert not _is_same(first, mochi.make(seed=0))
    with pytest.raises(InvalidInput, match="seed: "):
        mochi.make(seed=-1)


def test_a_run_after_a_cancelled_one_gives_the_same_bytes(mochi: LoadedVideo) -> None:
    before = mochi.make()
    assert mochi.desk.steps == [(1, 3), (2, 3), (3, 3)]
    mochi.refuse_after(2)
    with batches(mochi.stage._pipeline.transformer) as seen, pytest.raises(Cancelled):
        mochi.make()
    assert len(seen) == 2
    mochi.refuse_after(None)
    assert _is_same(mochi.make(), before)


def test_nan_in_the_weights_ends_in_an_error(mochi: LoadedVideo) -> None:
    bias = mochi.stage._pipeline.transformer.proj_out.bias
    with replaced(bias, float("nan")), pytest.raises(StageError, match="step 1 holds a value that is not a finite"):
        mochi.make()


def test_infinity_from_the_decoder_ends_in_an_error(mochi: LoadedVideo) -> None:
    bias = mochi.stage._pipeline.vae.decoder.proj_out.bias
    with replaced(bias, float("inf")), pytest.raises(StageError, match="what was decoded holds"):
        mochi.make()
    assert mochi.make().shape.frames == 7


# --- what it says and refuses ----------------------------------------------------------------------------------------


def test_it_notes_the_parameters_in_effect(mochi: LoadedVideo) -> None:
    clip = mochi.make(width=40, height=24)
    assert mochi.desk.notes["mochi"] == {
        "model": "tiny-mochi",
        "revision": None,
        "dtype": "float32",
        "size": "40x24x7",
        "native_size": "48x32x7",
        "fps": "30",
        "steps": 3,
        "scheduler": "FlowMatchEulerDiscreteScheduler, linear then quadratic",
        "guidance": 4.5,
        "evaluations_per_step": 2,
        "negatives": "none",
        "negative_prompt": "",
        "max_prompt_tokens": 256,
    }
    assert clip.model == "tiny-mochi"
    assert json.loads(json.dumps(mochi.desk.notes, allow_nan=False)) == mochi.desk.notes


@pytest.mark.parametrize("params", [{"steps": 0}, {"guidance": 0.5}, {"width": 8}, {"strength": 0.5}, {"cfg": 1}])
def test_values_out_of_range_and_unknown_keys_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Mochi.Params(**params)


def test_the_defaults_are_a_legal_plan_of_the_published_size() -> None:
    Mochi.plan(Mochi.Params())
    assert (Mochi.Params().width, Mochi.Params().height, Mochi.Params().frames) == (848, 480, 85)


def test_its_mapping_names_every_param_and_the_public_words() -> None:
    public = {"steps", "guidance", "seed", "negative_prompt", "width", "height", "frames", "fps", "image", "strength"}
    assert set(Mochi.mapping) == public | set(Mochi.Params.model_fields)
