"""`generate.wan` from the outside: the three sets of weights, sizes, lengths, pictures, seeds, cancelling."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from deployments.generate.wan import Wan
from deployments.nets.wan_sampling import TRAITS
from serve_app.core.adapter import Adapters
from serve_app.core.errors import Cancelled, InvalidInput, StageError
from serve_app.core.media import Clip, Image
from serve_app.core.resize import cover_resize
from serve_app.core.stage import contract_of
from tests.deployments.loaded_ltx2 import batches, picture, quantised, replaced
from tests.deployments.loaded_video import LoadedVideo
from tests.deployments.loaded_wan import RawWan, load, load_raw
from tests.deployments.tiny_wan import build


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("wan")
    return {variant: build(root / f"tiny-{variant}", variant) for variant in TRAITS}


@pytest.fixture(scope="module")
def stages(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedVideo]:
    return {variant: load(path, tmp_path_factory.mktemp("desk"), variant) for variant, path in weights.items()}


@pytest.fixture
def wan(stages: dict[str, LoadedVideo]) -> Iterator[LoadedVideo]:
    yield stages["t2v-a14b"]
    stages["t2v-a14b"].refuse_after(None)


@pytest.fixture
def from_image(stages: dict[str, LoadedVideo]) -> Iterator[LoadedVideo]:
    yield stages["i2v-a14b"]
    stages["i2v-a14b"].refuse_after(None)


@pytest.fixture
def small(stages: dict[str, LoadedVideo]) -> LoadedVideo:
    return stages["ti2v-5b"]


@pytest.fixture(scope="module")
def raw(weights: dict[str, Path]) -> RawWan:
    return load_raw(weights["t2v-a14b"], has_image=False)


@pytest.fixture(scope="module")
def raw_from_image(weights: dict[str, Path]) -> RawWan:
    return load_raw(weights["i2v-a14b"], has_image=True)


def _is_same(one: Clip, other: Clip) -> bool:
    return np.array_equal(one.frames, other.frames)


def test_its_ports_are_a_prompt_a_seed_and_perhaps_an_image_and_adapters() -> None:
    ports = contract_of("generate.wan", Wan).ports
    assert {name: (port.type, port.is_optional) for name, port in ports.items()} == {
        "prompt": (str, False),
        "seed": (int, False),
        "image": (Image, True),
        "adapters": (Adapters, True),
    }


# --- the same clip as diffusers, called rightly ----------------------------------------------------------------------


def test_text_to_video_is_what_diffusers_makes_to_the_bit(wan: LoadedVideo, raw: RawWan) -> None:
    clip = wan.make(negative_prompt="blurry")
    made = raw.call(shift=12.0, guidance_scale=4.0, guidance_scale_2=3.0, negative_prompt="blurry")
    assert np.array_equal(clip.frames, quantised(made))


def test_image_to_video_is_what_diffusers_makes_to_the_bit(from_image: LoadedVideo, raw_from_image: RawWan) -> None:
    clip = from_image.make(image=picture(64, 64))
    made = raw_from_image.call(shift=3.0, image=picture(64, 64), guidance_scale=3.5, guidance_scale_2=3.5)
    assert np.array_equal(clip.frames, quantised(made))


@pytest.mark.parametrize("has_image", [False, True])
def test_the_small_one_does_both_with_one_set_of_weights(
    small: LoadedVideo, weights: dict[str, Path], has_image: bool
) -> None:
    given: dict[str, Any] = {"image": picture(64, 64)} if has_image else {}
    clip = small.make(**given)
    made = load_raw(weights["ti2v-5b"], has_image).call(shift=5.0, guidance_scale=5.0, **given)
    assert np.array_equal(clip.frames, quantised(made))


def test_the_published_shift_is_3_whatever_the_weights_were_made_for(raw: RawWan) -> None:
    assert raw.pipeline.scheduler.config.flow_shift == 3.0
    scales: dict[str, Any] = {"guidance_scale": 4.0, "guidance_scale_2": 3.0}
    assert not np.array_equal(raw.call(**scales), raw.call(shift=12.0, **scales))


def test_a_shift_of_ones_own_is_used(wan: LoadedVideo, raw: RawWan) -> None:
    clip = wan.make(flow_shift=3.0)
    assert wan.desk.notes["wan"]["flow_shift"] == 3.0
    assert np.array_equal(clip.frames, quantised(raw.call(guidance_scale=4.0, guidance_scale_2=3.0)))


# --- size and length -------------------------------------------------------------------------------------------------


def test_the_rows_cropped_are_the_rows_added(wan: LoadedVideo) -> None:
    whole = wan.make(width=64, height=48)
    part = wan.make(width=51, height=37)
    assert part.frames.shape == (5, 37, 51, 3)
    assert np.array_equal(part.frames, whole.frames[:, 5:42, 6:57])
    assert part.frames.flags.c_contiguous


def test_the_small_one_makes_sizes_that_diffusers_rounds_down(small: LoadedVideo, weights: dict[str, Path]) -> None:
    assert small.make(width=48, height=48).frames.shape == (5, 48, 48, 3)
    assert small.desk.notes["wan"]["native_size"] == "64x64x5"
    made = load_raw(weights["ti2v-5b"], has_image=False).call(width=48, height=48)
    assert made.shape[2:4] == (32, 32)


@pytest.mark.parametrize(("asked", "nearest", "made"), [(10, "9 and 13", 9), (12, "9 and 13", 13)])
def test_frames_off_the_grid_are_refused_where_diffusers_rounds_them_down_or_up(
    raw: RawWan, asked: int, nearest: str, made: int
) -> None:
    with pytest.raises(InvalidInput, match=rf"frames: {asked} is not 4k.1; the nearest are {nearest}"):
        Wan.plan(Wan.Params(frames=asked))
    assert raw.call(num_frames=asked, num_inference_steps=1).shape[1] == made


def test_a_single_frame_is_a_clip(wan: LoadedVideo, from_image: LoadedVideo) -> None:
    assert wan.make(frames=1).shape.frames == 1
    assert from_image.make(frames=1, image=picture(64, 64)).shape.frames == 1


def test_the_rate_times_the_clip_and_nothing_else(wan: LoadedVideo, raw: RawWan) -> None:
    plain = wan.make()
    assert (plain.fps, wan.desk.warnings) == (Fraction(16), [])
    fast = wan.make(fps=24)
    assert fast.fps == Fraction(24)
    assert _is_same(plain, fast)
    assert wan.desk.warnings == [
        "Wan is not told the rate: t2v-a14b moves as at 16 fps, so 24 plays 1.5x as fast",
    ]
    with pytest.raises(TypeError, match="frame_rate"):
        raw.call(frame_rate=24.0)


def test_the_small_one_is_made_for_24_fps(small: LoadedVideo) -> None:
    assert small.make().fps == Fraction(24)
    assert small.desk.warnings == []


# --- the picture -----------------------------------------------------------------------------------------------------


def test_a_picture_is_refused_by_weights_that_cannot_see_it(wan: LoadedVideo) -> None:
    with pytest.raises(InvalidInput, match="image: t2v-a14b makes clips from text alone"):
        wan.make(image=picture(64, 64))


def test_weights_that_need_a_picture_say_so(from_image: LoadedVideo) -> None:
    with pytest.raises(InvalidInput, match="image: i2v-a14b needs the first frame"):
        from_image.make()


def test_a_wide_picture_is_cut_where_diffusers_stretches_it(from_image: LoadedVideo, raw_from_image: RawWan) -> None:
    import PIL.Image

    wide, cut = picture(256, 64), Image(cover_resize(picture(256, 64).pixels, 64, 64))
    assert _is_same(from_image.make(image=wide), from_image.make(image=cut))
    small = PIL.Image.fromarray(wide.pixels).resize((64, 64), PIL.Image.Resampling.LANCZOS)
    made = [raw_from_image.call(image=one) for one in (wide, Image(np.asarray(small)))]
    assert np.array_equal(*made)


def test_a_read_only_picture_will_do(from_image: LoadedVideo) -> None:
    shared = picture(64, 64)
    shared.pixels.flags.writeable = False
    assert from_image.make(image=shared).shape.frames == 5


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(wan: LoadedVideo) -> None:
    first = wan.make(seed=2**63 - 1)
    assert _is_same(first, wan.make(seed=2**63 - 1))
    assert not _is_same(first, wan.make(seed=0))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(wan: LoadedVideo, seed: int) -> None:
    with pytest.raises(InvalidInput, match="seed: "):
        wan.make(seed=seed)


# --- what is refused at plan time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"steps": 0},
        {"guidance": 0.5},
        {"guidance_low": 0},
        {"flow_shift": 0},
        {"width": 8},
        {"max_prompt_tokens": 1024},
        {"strength": 0.5},
        {"cfg": 1},
        {"guidance": float("nan")},
    ],
)
def test_values_out_of_range_and_unknown_keys_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Wan.Params(**params)


def test_the_defaults_are_a_legal_plan() -> None:
    Wan.plan(Wan.Params())


@pytest.mark.parametrize(
    ("params", "field"), [({"fps": 0}, "fps"), ({"fps": "fast"}, "fps"), ({"frames": 6}, "frames")]
)
def test_a_plan_names_the_field_at_fault(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Wan.plan(Wan.Params(**params))
    assert caught.value.field == field


# --- progress, cancelling, one at a time -----------------------------------------------------------------------------


def test_progress_counts_every_step(wan: LoadedVideo) -> None:
    wan.make(steps=3)
    assert wan.desk.steps == [(1, 3), (2, 3), (3, 3)]


def test_a_cancelled_run_stops_at_the_step_and_decodes_nothing(wan: LoadedVideo) -> None:
    wan.refuse_after(2)
    part = wan.stage._pipelines.encoder
    with batches(part.transformer) as high, batches(part.transformer_2) as low, pytest.raises(Cancelled):
        wan.make(steps=6, guidance=1.0)
    assert len(high) + len(low) == 2


def test_a_run_after_a_cancelled_one_gives_the_same_bytes(from_image: LoadedVideo) -> None:
    """The scheduler remembers the steps before: what a run that was broken off has left must not reach the next."""
    before = from_image.make(image=picture(64, 64))
    from_image.refuse_after(3)
    with pytest.raises(Cancelled):
        from_image.make(image=picture(64, 64))
    from_image.refuse_after(None)
    assert _is_same(from_image.make(image=picture(64, 64)), before)


def test_a_run_may_be_cancelled_between_two_frames_of_the_decoder(wan: LoadedVideo) -> None:
    decoder = wan.stage._pipelines.encoder.vae.decoder
    seen: list[int] = []

    def cancel(*_: Any) -> None:
        seen.append(1)
        wan.refuse_after(0)

    before = wan.make(frames=9)
    handle = decoder.register_forward_pre_hook(cancel)
    with pytest.raises(Cancelled):
        wan.make(frames=9)
    handle.remove()
    wan.refuse_after(None)
    assert len(seen) == 1
    assert _is_same(wan.make(frames=9), before)


def test_two_threads_take_turns_and_get_their_own_clips(small: LoadedVideo) -> None:
    given = {1: None, 2: picture(64, 64), 3: None}
    params = Wan.Params(width=64, height=64, frames=5, steps=2)

    def work(seed: int) -> None:
        made[seed] = small.stage.run(params, prompt="a fox", seed=seed, image=given[seed])

    made: dict[int, Clip] = {}
    for seed in given:
        work(seed)
    expected, made = made, {}
    threads = [threading.Thread(target=work, args=(seed,)) for seed in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(_is_same(made[seed], expected[seed]) for seed in given)


def test_parts_that_come_and_go_make_the_same_clip_also_after_a_cancelled_run(
    weights: dict[str, Path], tmp_path: Path, from_image: LoadedVideo
) -> None:
    """What `offload: model` arranges on a GPU, with the CPU as the device to come and go from."""
    offloaded = load(weights["i2v-a14b"], tmp_path, "i2v-a14b")
    offloaded.stage._pipelines.encoder.enable_model_cpu_offload(device="cpu")
    assert hasattr(offloaded.stage._pipelines.from_image.transformer_2, "_hf_hook")
    offloaded.refuse_after(1)
    with pytest.raises(Cancelled):
        offloaded.make(image=picture(64, 64))
    offloaded.refuse_after(None)
    first, again = offloaded.make(image=picture(64, 64)), offloaded.make(image=picture(64, 64))
    assert _is_same(first, again)
    # Moved weights lie otherwise in memory than those read from a file, which on a CPU moves the last bits.
    assert np.abs(first.frames.astype(int) - from_image.make(image=picture(64, 64)).frames).max() <= 1


# --- numbers that are not finite -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "step"), [("transformer", 1), ("transformer_2", 4)])
def test_nan_in_either_expert_ends_in_an_error(wan: LoadedVideo, part: str, step: int) -> None:
    bias = getattr(wan.stage._pipelines.encoder, part).proj_out.bias
    with replaced(bias, float("nan")), pytest.raises(StageError, match=f"step {step} holds a value that is not a fin"):
        wan.make()


def test_infinity_from_the_decoder_is_an_error_where_diffusers_makes_it_white(wan: LoadedVideo, raw: RawWan) -> None:
    bias = wan.stage._pipelines.encoder.vae.decoder.conv_out.bias
    with replaced(bias, float("inf")), pytest.raises(StageError, match="what was decoded holds"):
        wan.make()
    with replaced(raw.pipeline.vae.decoder.conv_out.bias, float("inf")):
        assert (raw.call() == 1.0).all()
    assert wan.make().shape.frames == 5


# --- what it says ----------------------------------------------------------------------------------------------------


def test_it_notes_the_parameters_in_effect(wan: LoadedVideo) -> None:
    clip = wan.make(width=60, height=40)
    assert wan.desk.notes["wan"] == {
        "model": "tiny-t2v-a14b",
        "revision": None,
        "variant": "t2v-a14b",
        "dtype": "float32",
        "vae_dtype": "float32",
        "size": "60x40x5",
        "native_size": "64x48x5",
        "fps": "16",
        "steps": 4,
        "steps_of_experts": [3, 1],
        "boundary_ratio": 0.875,
        "flow_shift": 12.0,
        "scheduler": "UniPCMultistepScheduler",
        "guidance": 4.0,
        "guidance_low": 3.0,
        "evaluations_per_step": 2,
        "has_image": False,
        "negatives": "none",
        "negative_prompt": "",
        "max_prompt_tokens": 512,
    }
    assert clip.model == "tiny-t2v-a14b"
    assert wan.desk.warnings == []
    assert json.loads(json.dumps(wan.desk.notes, allow_nan=False)) == wan.desk.notes


def test_its_mapping_names_every_param_and_the_public_words() -> None:
    public = {"steps", "guidance", "seed", "negative_prompt", "width", "height", "frames", "fps", "image", "strength"}
    assert set(Wan.mapping) == public | {"adapters"} | set(Wan.Params.model_fields)
