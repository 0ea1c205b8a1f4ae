"""`generate.ltx2` with `stages: 2`: the authors' recipe step by step, and what diffusers gets wrong without a word."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from diffusers.pipelines.ltx2.pipeline_ltx2_latent_upsample import LTX2LatentUpsamplePipeline

from deployments.adapt.lora import Lora
from deployments.generate.ltx2 import Ltx2
from deployments.nets.ltx2_sampling import UNGUIDED, reference_sigmas
from deployments.nets.ltx2_takes import REFINING_SIGMAS, takes_of
from serve_app.core.adapter import WantedAdapters
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured, Rejected
from serve_app.core.media import Clip, Image, VideoShape
from serve_app.core.resize import cover_resize
from tests.deployments.loaded_ltx2 import LoadedLtx2, RawLtx2, batches, load, picture, quantised
from tests.deployments.test_ltx2_adapters import _dense, _made
from tests.deployments.tiny_ltx2 import build

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_REFINE: dict[str, Any] = {"sigmas": list(REFINING_SIGMAS), "num_inference_steps": 3}


def _bytes(clip: Clip) -> bytes:
    assert clip.audio is not None
    return clip.frames.tobytes() + clip.audio.samples.tobytes()


@pytest.fixture(scope="module")
def enlarge(raw_ltx2: RawLtx2, tiny_upsampler_dir: Path) -> Any:
    """Return diffusers' own pipeline around the upsampler, given and giving latents."""
    model = LTX2LatentUpsamplerModel.from_pretrained(tiny_upsampler_dir, local_files_only=True)
    pipeline = LTX2LatentUpsamplePipeline(vae=raw_ltx2.from_text.vae, latent_upsampler=model)
    return lambda latents: pipeline(latents=latents, height=64, width=64, num_frames=9, output_type="latent").frames


def _by_hand(raw: RawLtx2, enlarge: Any, **second: Any) -> Any:
    """Return what diffusers makes in two calls of `raw`, the second with everything that it has to be told."""
    generator = torch.Generator("cpu").manual_seed(7)
    with raw.static():
        first = raw.call(generator=generator, output_type="latent")
        told = {"latents": enlarge(first.frames), "audio_latents": first.audio, "noise_scale": REFINING_SIGMAS[0]}
        return raw.call(**{"width": 128, "height": 128, "generator": generator, **_REFINE, **told, **second})


# --- the recipe ------------------------------------------------------------------------------------------------------


def test_two_stages_are_what_diffusers_makes_in_two_calls_to_the_bit(
    two_stage: LoadedLtx2, raw_ltx2: RawLtx2, enlarge: Any
) -> None:
    clip = two_stage.make(width=128, height=128, stages=2)
    by_hand = _by_hand(raw_ltx2, enlarge)
    assert np.array_equal(clip.frames, quantised(by_hand.frames))
    assert clip.audio is not None
    made = by_hand.audio[0].numpy()
    assert np.array_equal(clip.audio.samples[:, : made.shape[1]], np.clip(made, -1, 1))


def test_the_refining_sigmas_are_the_published_ones() -> None:
    from diffusers.pipelines.ltx2.utils import STAGE_2_DISTILLED_SIGMA_VALUES

    assert tuple(STAGE_2_DISTILLED_SIGMA_VALUES) == REFINING_SIGMAS


@pytest.mark.parametrize(
    ("asked", "native", "half"),
    [
        ((1280, 720), "1280x768x97", "640x384x97"),
        ((1280, 704), "1280x704x97", "640x352x97"),
        ((1920, 1080), "1920x1088x97", "960x544x97"),
    ],
)
def test_the_half_is_on_the_grid_too(asked: tuple[int, int], native: str, half: str) -> None:
    from deployments.nets.ltx2_takes import grid_of

    covered = grid_of(2).cover(VideoShape(frames=97, height=asked[1], width=asked[0]))
    first, second = takes_of(covered, reference_sigmas(8), UNGUIDED, 2)
    assert (str(second.native), str(first.native)) == (native, half)


def test_a_size_off_the_grid_of_64_is_made_by_cover_and_crop(two_stage: LoadedLtx2) -> None:
    clip = two_stage.make(width=96, height=80, stages=2)
    whole = two_stage.make(width=128, height=128, stages=2)
    assert clip.frames.shape == (9, 80, 96, 3)
    assert np.array_equal(clip.frames, whole.frames[:, 24:104, 16:112])


def test_the_sigmas_and_sizes_of_both_stages_are_noted(two_stage: LoadedLtx2) -> None:
    two_stage.make(width=96, height=80, stages=2, steps=8, frames=1)
    facts = two_stage.desk.notes["ltx2"]
    first, second = facts["stages"]
    assert (first["native_size"], second["native_size"], facts["native_size"]) == ("64x64x1", "128x128x1", "128x128x1")
    assert (len(first["sigmas"]), first["steps"], facts["steps"]) == (8, 8, 11)
    assert second["sigmas"] == [0.909375, 0.725, 0.421875]
    assert Path(facts["latent_upsampler"]).name == "tiny-upsampler"
    assert two_stage.desk.warnings == []


def test_one_stage_says_nothing_of_an_upsampler_and_is_the_same_with_it(
    two_stage: LoadedLtx2, ltx2: LoadedLtx2
) -> None:
    assert _bytes(two_stage.make()) == _bytes(ltx2.make())
    assert two_stage.desk.notes["ltx2"]["latent_upsampler"] is None
    assert len(two_stage.desk.notes["ltx2"]["stages"]) == 1


@pytest.mark.parametrize(
    ("guidance", "expected"), [(1.0, [1, 1, 1, 1, 1, 1]), (3.0, [2, 1, 1] * 3 + [1, 1, 1])], ids=["off", "on"]
)
def test_the_first_stage_costs_what_guidance_says_and_the_second_one_pass_a_step(
    two_stage: LoadedLtx2, guidance: float, expected: list[int]
) -> None:
    with batches(two_stage.part.transformer) as seen:
        two_stage.make(stages=2, guidance=guidance)
    assert seen == expected
    per_step = [stage["evaluations_per_step"] for stage in two_stage.desk.notes["ltx2"]["stages"]]
    assert per_step == [1 if guidance == 1 else 4, 1]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(two_stage: LoadedLtx2) -> None:
    first = _bytes(two_stage.make(stages=2, image=picture(64, 64)))
    assert first == _bytes(two_stage.make(stages=2, image=picture(64, 64)))
    assert first != _bytes(two_stage.make(stages=2, image=picture(64, 64), seed=8))


@pytest.mark.parametrize("version", ["2.3", "2.5"])
def test_newer_versions_do_two_stages_too(tmp_path: Path, tiny_upsampler_dir: Path, version: str) -> None:
    weights = build(tmp_path / "newer", version)
    loaded = load(weights, tmp_path, version=version, latent_upsampler=str(tiny_upsampler_dir))
    clip = loaded.make(stages=2, image=picture(64, 64), last_image=picture(64, 64))
    assert clip.frames.shape == (9, 64, 64, 3)
    assert clip.frames.std() > 0


# --- what diffusers does without a word ------------------------------------------------------------------------------


def test_without_noise_scale_diffusers_refines_latents_that_have_no_noise(
    two_stage: LoadedLtx2, raw_ltx2: RawLtx2, enlarge: Any
) -> None:
    clip = two_stage.make(width=128, height=128, stages=2)
    left_out = _by_hand(raw_ltx2, enlarge, noise_scale=0.0)  # their default
    assert not np.array_equal(clip.frames, quantised(left_out.frames))


def test_without_the_first_sound_diffusers_starts_another(
    two_stage: LoadedLtx2, raw_ltx2: RawLtx2, enlarge: Any
) -> None:
    clip = two_stage.make(width=128, height=128, stages=2)
    other = _by_hand(raw_ltx2, enlarge, audio_latents=None)
    assert clip.audio is not None
    made = other.audio[0].numpy()
    assert not np.allclose(clip.audio.samples[:, : made.shape[1]], made, atol=1e-3)


def _inputs(ltx2: LoadedLtx2, **changes: Any) -> list[torch.Tensor]:
    """Return the latents `(1, tokens, C)` that each step begins with, of a clip of 128x128 px."""
    seen: list[torch.Tensor] = []

    def note(_: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(named["hidden_states"].clone())

    handle = ltx2.part.transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        ltx2.make(width=128, height=128, **changes)
    finally:
        handle.remove()
    return seen


def _sharp() -> Image:
    """Return a picture with detail that half the size does not have."""
    sharp = picture(128, 128)
    sharp.pixels[::2, ::2] = 255
    return sharp


def test_the_first_frame_is_the_picture_at_full_size(two_stage: LoadedLtx2) -> None:
    at_full_size = _inputs(two_stage, image=_sharp(), steps=1)[0][:, :16]
    for step in _inputs(two_stage, image=_sharp(), stages=2)[-3:]:
        assert torch.allclose(step[:, :16], at_full_size, atol=1e-5)


def test_given_latents_diffusers_never_reads_its_image(raw_ltx2: RawLtx2) -> None:
    """Frame 0 would stay what the upsampler made of half the size."""
    latents = torch.zeros(1, 16, 2, 4, 4)
    call = {"width": 128, "height": 128, "latents": latents, "noise_scale": REFINING_SIGMAS[0], "image_crf": 0}
    with raw_ltx2.static():
        one, other = (raw_ltx2.call(image=each, **_REFINE, **call).frames for each in (_sharp(), picture(128, 128)))
    assert np.array_equal(one, other)


def test_the_second_noise_is_not_the_first_again(two_stage: LoadedLtx2, raw_ltx2: RawLtx2, enlarge: Any) -> None:
    clip = two_stage.make(width=128, height=128, stages=2)
    seeded_again = _by_hand(raw_ltx2, enlarge, generator=torch.Generator("cpu").manual_seed(7))
    assert not np.array_equal(clip.frames, quantised(seeded_again.frames))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_two_stages_without_an_upsampler_are_refused_at_plan_time() -> None:
    params = Ltx2.Params(stages=2)
    with pytest.raises(Misconfigured, match=r"weights\.latent_upsampler: none is configured, and `stages: 2` needs"):
        Ltx2.fits(params, Ltx2.Weights(model="m"))
    Ltx2.fits(Ltx2.Params(), Ltx2.Weights(model="m"))
    Ltx2.fits(params, Ltx2.Weights(model="m", latent_upsampler="u"))


def test_two_stages_of_weights_that_are_not_distilled_are_refused_at_plan_time() -> None:
    with pytest.raises(Misconfigured, match=r"weights\.distilled: .*three steps"):
        Ltx2.fits(Ltx2.Params(stages=2), Ltx2.Weights(model="m", distilled=False, latent_upsampler="u"))


def test_run_refuses_what_does_not_fit(ltx2: LoadedLtx2) -> None:
    with pytest.raises(Misconfigured, match="latent_upsampler"):
        ltx2.make(stages=2)


def test_the_shipped_pipeline_asks_for_two_stages_and_is_refused_without_an_upsampler() -> None:
    from serve_app.config import plan_alone
    from serve_app.graph.plan import Deployment, compile_plan
    from serve_app.graph.spec import find_pipeline

    spec = find_pipeline("ltx2-two-stage-1080p")
    plan = plan_alone(spec)
    draft = plan.bind({"prompt": "a fox", "seed": 7}).params["draft"].model_dump()
    assert (draft["stages"], draft["steps"], draft["width"], draft["height"]) == (2, 8, 1280, 720)
    known = {step.deployment.name: step.deployment for step in plan.steps}
    ltx2 = known["generate.ltx2"]
    known["generate.ltx2"] = Deployment(ltx2.name, ltx2.stage, ltx2.contract, Ltx2.Weights(model="m"))
    with pytest.raises(Misconfigured, match=r"weights\.latent_upsampler"):
        compile_plan(spec, known)


# --- progress, cancelling, early abort, chunks -----------------------------------------------------------------------


def test_progress_counts_the_steps_of_both(two_stage: LoadedLtx2) -> None:
    two_stage.make(stages=2, steps=4)
    assert two_stage.desk.steps == [(step, 7) for step in range(1, 8)]


@pytest.mark.parametrize(("after", "steps"), [(2, 2), (3, 3), (5, 5)])
def test_a_cancelled_run_stops_in_either_stage_and_decodes_nothing(
    two_stage: LoadedLtx2, after: int, steps: int
) -> None:
    before = _bytes(two_stage.make(stages=2))
    two_stage.clear()
    two_stage.desk.cancel_after = after
    decoded: list[int] = []
    handle = two_stage.part.vae.decoder.register_forward_pre_hook(lambda *_: decoded.append(1))
    with batches(two_stage.part.transformer) as seen, pytest.raises(Cancelled):
        two_stage.make(stages=2)
    handle.remove()
    assert (len(seen), decoded) == (steps, [])
    two_stage.clear()
    assert _bytes(two_stage.make(stages=2)) == before


def test_early_abort_looks_at_both_stages_and_counts_through(
    two_stage: LoadedLtx2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.nets.outlook.LEAST_RELATED", -2.0)
    monkeypatch.setattr("deployments.nets.outlook.FLATTEST", 0.0)
    monkeypatch.setattr("deployments.nets.outlook.STEEPEST", float("inf"))
    plain = _bytes(two_stage.make(stages=2, image=picture(64, 64)))
    watched = _bytes(two_stage.make(stages=2, image=picture(64, 64), early_abort="on", early_abort_at=0.0))
    assert plain == watched
    assert two_stage.desk.notes["early_abort"]["step"] == 6
    assert two_stage.desk.notes["early_abort"]["relation"] is not None
    monkeypatch.setattr("deployments.nets.outlook.FLATTEST", float("inf"))
    with pytest.raises(Rejected, match="given up after step 3"):
        two_stage.make(stages=2, early_abort="on", early_abort_at=0.9)


def test_an_attempt_given_up_in_the_second_stage_counts_the_steps_of_the_first() -> None:
    from deployments.nets.outlook import Look, Outlook

    with pytest.raises(Rejected, match="given up after step 9"):
        Outlook(Look(0.0), steps_before=8).see(None, 0, {"latents": torch.tensor(float("nan"))})


def test_chunks_decode_the_second_stage_alone(tiny_ltx2_dir: Path, tiny_upsampler_dir: Path, tmp_path: Path) -> None:
    both: dict[str, Any] = {"latent_upsampler": str(tiny_upsampler_dir)}
    chunked = load(tiny_ltx2_dir, tmp_path, decode="chunks", **both)
    seen: list[tuple[int, ...]] = []
    handle = chunked.part.vae.decoder.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[2:])))
    clip = chunked.make(stages=2, frames=121, steps=1)
    handle.remove()
    assert seen == [(11, 2, 2), (9, 2, 2)]
    assert clip.frames.shape[0] == 121


def test_an_adapter_is_worn_in_both_stages(two_stage: LoadedLtx2, tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    made, stage = _made(two_stage, 1), Lora()
    made.save(tmp_path / "a.safetensors")
    given: dict[str, Any] = {"family": "ltx2", "model": str(tiny_ltx2_dir), "directories": (str(tmp_path),)}
    stage.load(Lora.Weights(**given), two_stage.desk)
    adapters = stage.run(Lora.Params(), adapter=WantedAdapters.parse("a@0.65"))
    base, worn = (two_stage.make("a fox in two", stages=2, adapters=each) for each in (None, adapters))
    two_stage.stage._prompts._kept.clear()
    with _dense(two_stage, (made, 0.65)):
        dense = two_stage.make("a fox in two", stages=2)
    two_stage.stage._prompts._kept.clear()
    assert _distance(worn, dense) <= 2 < _distance(worn, base)


def _distance(one: Clip, other: Clip) -> int:
    return int(np.abs(one.frames.astype(int) - other.frames.astype(int)).max())


@pytest.mark.parametrize("stages", [0, 3])
def test_there_are_one_or_two_stages(stages: int) -> None:
    with pytest.raises(ValueError, match="stages"):
        Ltx2.Params(stages=stages)


def test_frames_off_the_grid_are_refused_with_two_stages_too() -> None:
    with pytest.raises(InvalidInput, match="frames"):
        Ltx2.plan(Ltx2.Params(frames=24, stages=2))


def test_a_wide_picture_is_cut_and_never_stretched_in_both_stages(two_stage: LoadedLtx2) -> None:
    wide, cut = picture(256, 64), Image(cover_resize(picture(256, 64).pixels, 64, 64))
    assert _bytes(two_stage.make(image=wide, stages=2)) == _bytes(two_stage.make(image=cut, stages=2))


def test_the_knobs_of_both_calls_are_all_eight(two_stage: LoadedLtx2) -> None:
    first, second = takes_of(VideoShape(frames=9, height=64, width=64), (1.0,), UNGUIDED, 2)
    assert asdict(first.guidance) == asdict(second.guidance) == asdict(UNGUIDED)
