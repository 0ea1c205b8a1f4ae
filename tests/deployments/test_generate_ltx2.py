"""`generate.ltx2` from the outside: sizes, sound, seeds, reports, cancelling, and what it refuses."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from deployments.generate.ltx2 import Ltx2
from serve_app.core.adapter import Adapters
from serve_app.core.conditioning import Conditioning
from serve_app.core.errors import Cancelled, InvalidInput, StageError
from serve_app.core.media import Clip, Image
from serve_app.core.resize import cover_resize
from serve_app.core.stage import contract_of
from tests.deployments.loaded_ltx2 import LoadedLtx2, RawLtx2, batches, picture, quantised, replaced


def _is_same(one: Clip, other: Clip) -> bool:
    assert one.audio is not None
    assert other.audio is not None
    return np.array_equal(one.frames, other.frames) and np.array_equal(one.audio.samples, other.audio.samples)


def test_its_ports_are_a_prompt_in_words_or_encoded_a_seed_and_perhaps_pictures_and_adapters() -> None:
    ports = contract_of("generate.ltx2", Ltx2).ports
    assert {name: (port.type, port.is_optional) for name, port in ports.items()} == {
        "prompt": (str, True),
        "conditioning": (Conditioning, True),
        "seed": (int, False),
        "image": (Image, True),
        "middle_image": (Image, True),
        "last_image": (Image, True),
        "adapters": (Adapters, True),
    }


# --- the same picture as diffusers, called rightly -------------------------------------------------------------------


def test_text_to_video_is_what_diffusers_makes_to_the_bit(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    clip = ltx2.make()
    with raw_ltx2.static():
        raw = raw_ltx2.call()
    assert np.array_equal(clip.frames, quantised(raw.frames))


def test_image_to_video_is_what_diffusers_makes_to_the_bit(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    clip = ltx2.make(image=picture(64, 64))
    with raw_ltx2.static():
        raw = raw_ltx2.call(image=picture(64, 64), image_crf=33)
    assert np.array_equal(clip.frames, quantised(raw.frames))


def test_an_image_changes_the_clip(ltx2: LoadedLtx2) -> None:
    assert not _is_same(ltx2.make(), ltx2.make(image=picture(64, 64)))


# --- size, length, sound ---------------------------------------------------------------------------------------------


def test_720p_is_made_although_it_is_not_on_the_models_grid(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    clip = ltx2.make(width=1280, height=720, frames=1, steps=1, image=picture(1280, 720))
    assert clip.frames.shape == (1, 720, 1280, 3)
    assert ltx2.desk.notes["ltx2"]["native_size"] == "1280x736x1"
    with pytest.raises(ValueError, match="divisible by 32"):
        raw_ltx2.call(width=1280, height=720)


def test_the_rows_cropped_are_the_rows_added(ltx2: LoadedLtx2) -> None:
    """A picture on the grid, cropped, is the clip of its centre: the framing is restored and nothing is zoomed."""
    whole = ltx2.make(width=128, height=96)
    part = ltx2.make(width=101, height=75)
    assert part.frames.shape == (9, 75, 101, 3)
    assert np.array_equal(part.frames, whole.frames[:, 10:85, 13:114])
    assert part.frames.flags.c_contiguous


def test_a_wide_picture_is_cut_where_diffusers_stretches_it(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    wide, cut = picture(256, 64), Image(cover_resize(picture(256, 64).pixels, 64, 64))
    assert _is_same(ltx2.make(image=wide), ltx2.make(image=cut))
    import PIL.Image

    squeezed = Image(np.asarray(PIL.Image.fromarray(wide.pixels).resize((64, 64), PIL.Image.Resampling.BILINEAR)))
    with raw_ltx2.static():
        raw = [raw_ltx2.call(image=one, image_crf=0).frames for one in (wide, squeezed)]
    assert np.array_equal(*raw)


def test_a_read_only_picture_will_do(ltx2: LoadedLtx2) -> None:
    shared = picture(64, 64)
    shared.pixels.flags.writeable = False
    assert ltx2.make(image=shared).shape.frames == 9


def test_frames_off_the_grid_are_refused_where_diffusers_drops_them(raw_ltx2: RawLtx2) -> None:
    with pytest.raises(InvalidInput, match=r"frames: 24 is not 8k.1; the nearest are 17 and 25"):
        Ltx2.plan(Ltx2.Params(frames=24))
    with raw_ltx2.static():
        assert raw_ltx2.call(num_frames=24).frames.shape[1] == 17


def test_sound_lasts_exactly_as_long_as_the_frames(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    clip = ltx2.make(frames=25)
    assert clip.audio is not None
    assert clip.audio.samples.shape == (2, 25_000)
    assert clip.audio.duration_s == clip.duration_s
    with raw_ltx2.static():
        assert raw_ltx2.call(num_frames=25).audio.shape[-1] == 24_240  # 32 ms short


def test_ntsc_rates_stay_exact(ltx2: LoadedLtx2) -> None:
    clip = ltx2.make(fps=29.97)
    assert clip.fps == Fraction(30000, 1001)
    assert ltx2.desk.notes["ltx2"]["fps"] == "30000/1001"


def test_the_rate_is_an_input_of_the_model(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    slow, fast = ltx2.make(fps=24), ltx2.make(fps=30)
    assert not np.array_equal(slow.frames, fast.frames)
    with raw_ltx2.static():
        assert np.array_equal(fast.frames, quantised(raw_ltx2.call(frame_rate=30.0).frames))


def test_a_rate_it_was_not_trained_on_is_warned_of(ltx2: LoadedLtx2) -> None:
    ltx2.make(fps=48)
    assert any("trained near" in warning and "48" in warning for warning in ltx2.desk.warnings)


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(ltx2: LoadedLtx2) -> None:
    first = ltx2.make(seed=2**63 - 1)
    assert _is_same(first, ltx2.make(seed=2**63 - 1))
    assert not _is_same(first, ltx2.make(seed=0))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(ltx2: LoadedLtx2, seed: int) -> None:
    with pytest.raises(InvalidInput, match="seed: "):
        ltx2.make(seed=seed)


# --- what is refused at plan time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"fps": 0}, "fps"),
        ({"fps": "fast"}, "fps"),
        ({"fps": float("inf")}, "fps"),
        ({"frames": 1, "fps": 60}, "frames"),
        ({"max_prompt_tokens": 200}, "max_prompt_tokens"),
    ],
)
def test_a_plan_names_the_field_at_fault(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Ltx2.plan(Ltx2.Params(**params))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "params",
    [
        {"steps": 0},
        {"guidance": 0.5},
        {"width": 16},
        {"frames": 0},
        {"max_prompt_tokens": 2048},
        {"cfg": 1},
        {"guidance": float("nan")},
    ],
)
def test_values_out_of_range_and_unknown_keys_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Ltx2.Params(**params)


def test_the_defaults_are_a_legal_plan() -> None:
    Ltx2.plan(Ltx2.Params())


def test_run_refuses_what_plan_refuses(ltx2: LoadedLtx2) -> None:
    with pytest.raises(InvalidInput, match="frames"):
        ltx2.make(frames=24)


def test_a_clip_shorter_than_one_sound_latent_breaks_diffusers(raw_ltx2: RawLtx2) -> None:
    with raw_ltx2.static(), pytest.raises((RuntimeError, ValueError, ZeroDivisionError)):
        raw_ltx2.call(num_frames=1, frame_rate=60.0)


# --- progress, cancelling, one at a time -----------------------------------------------------------------------------


def test_progress_counts_every_step(ltx2: LoadedLtx2) -> None:
    ltx2.make(steps=4)
    assert ltx2.desk.steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_cancelled_run_stops_at_the_step_and_decodes_nothing(ltx2: LoadedLtx2) -> None:
    ltx2.desk.cancel_after = 2
    decoded: list[int] = []
    handle = ltx2.part.vae.decoder.register_forward_pre_hook(lambda *_: decoded.append(1))
    with batches(ltx2.part.transformer) as seen, pytest.raises(Cancelled):
        ltx2.make(steps=5)
    handle.remove()
    assert (len(seen), decoded) == (2, [])


def test_a_run_cancelled_before_it_starts_makes_no_step(ltx2: LoadedLtx2) -> None:
    ltx2.desk.cancel_after = 0
    with batches(ltx2.part.transformer) as seen, pytest.raises(Cancelled):
        ltx2.make(prompt="never encoded")
    assert seen == []


def test_a_run_after_a_cancelled_one_gives_the_same_bytes(ltx2: LoadedLtx2) -> None:
    before = ltx2.make(image=picture(64, 64))
    ltx2.clear()
    ltx2.desk.cancel_after = 1
    with pytest.raises(Cancelled):
        ltx2.make(image=picture(64, 64))
    ltx2.clear()
    assert _is_same(ltx2.make(image=picture(64, 64)), before)


def test_two_threads_take_turns_and_get_their_own_clips(ltx2: LoadedLtx2) -> None:
    seeds = (1, 2, 3, 4)
    expected = {seed: ltx2.make(seed=seed) for seed in seeds}
    made: dict[int, Clip] = {}

    def work(seed: int) -> None:
        made[seed] = ltx2.make(seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(_is_same(made[seed], expected[seed]) for seed in seeds)


# --- numbers that are not finite -------------------------------------------------------------------------------------


def test_nan_in_the_weights_ends_in_an_error_where_diffusers_returns_it(ltx2: LoadedLtx2, raw_ltx2: RawLtx2) -> None:
    bias = ltx2.part.transformer.proj_out.bias
    with replaced(bias, float("nan")), pytest.raises(StageError, match="step 1 holds a value that is not a finite"):
        ltx2.make()
    assert ltx2.desk.steps == []
    with raw_ltx2.static(), replaced(raw_ltx2.from_text.transformer.proj_out.bias, float("nan")):
        assert np.isnan(raw_ltx2.call().frames).all()


def test_infinity_from_the_decoder_ends_in_an_error(ltx2: LoadedLtx2) -> None:
    with replaced(ltx2.part.vae.decoder.conv_out.conv.bias, float("inf")), pytest.raises(StageError, match="frame 0"):
        ltx2.make()


def test_a_stage_that_failed_works_on(ltx2: LoadedLtx2) -> None:
    before = ltx2.make()
    with replaced(ltx2.part.vae.decoder.conv_out.conv.bias, float("nan")), pytest.raises(StageError):
        ltx2.make()
    assert _is_same(ltx2.make(), before)


# --- what it says ----------------------------------------------------------------------------------------------------


def test_it_notes_the_parameters_in_effect(ltx2: LoadedLtx2) -> None:
    clip = ltx2.make(steps=8, width=100, height=72)
    facts = ltx2.desk.notes["ltx2"]
    assert (facts["model"], facts["version"], facts["distilled"], facts["dtype"]) == (
        "tiny-ltx2",
        "2.0",
        True,
        "float32",
    )
    assert (facts["size"], facts["native_size"], facts["steps"]) == ("100x72x9", "128x96x9", 8)
    assert facts["sigmas"] == [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
    assert "static" in facts["scheduler"]
    assert facts["guidance"]["audio_guidance_scale"] == 1.0
    assert (facts["sound_rate"], facts["use_cross_timestep"], facts["evaluations_per_step"]) == (24_000, False, 1)
    assert clip.model == "tiny-ltx2"
    assert ltx2.desk.warnings == []


def test_what_it_notes_is_json(ltx2: LoadedLtx2) -> None:
    import json

    ltx2.make(guidance=3.0)
    assert json.loads(json.dumps(ltx2.desk.notes, allow_nan=False)) == ltx2.desk.notes


def test_it_leaves_no_file_behind(ltx2: LoadedLtx2) -> None:
    ltx2.make(image=picture(64, 64))
    assert list(Path(ltx2.desk.scratch).iterdir()) == []
