"""`generate.ltx2` with pictures at several frames: where they are shown, how firmly, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import LTX2ConditionPipeline
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from pydantic import ValidationError

from deployments.generate.ltx2 import Ltx2
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Image
from serve_app.core.resize import cover_resize
from tests.deployments.loaded_ltx2 import LoadedLtx2, RawLtx2, batches, picture

OTHER = Image(np.ascontiguousarray(picture(64, 64).pixels[::-1, :, ::-1]))


def _bytes(clip: Clip) -> bytes:
    assert clip.audio is not None
    return clip.frames.tobytes() + clip.audio.samples.tobytes()


@pytest.fixture(scope="module")
def raw_conditions(raw_ltx2: RawLtx2) -> Any:
    """Return diffusers' own pipeline for conditions, of the same weights."""
    parts = dict(raw_ltx2.from_text.components)
    pipeline = LTX2ConditionPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _moments(ltx2: LoadedLtx2, **changes: Any) -> list[float]:
    """Return the second that each keyframe's tokens begin at, which are behind those of the clip."""
    seen: list[torch.Tensor] = []

    def note(_: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(named["video_coords"])

    handle = ltx2.part.transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        clip = ltx2.make(**changes)
    finally:
        handle.remove()
    tokens = ((clip.shape.frames - 1) // 8 + 1) * 4
    return sorted(set(seen[0][0, 0, tokens:, 0].tolist()))


# --- where they are --------------------------------------------------------------------------------------------------


def test_the_last_picture_is_at_the_last_frame_where_diffusers_is_seven_frames_early(
    ltx2: LoadedLtx2, raw_conditions: Any
) -> None:
    assert _moments(ltx2, frames=25, last_image=OTHER) == pytest.approx([24 / 24])
    seen: list[torch.Tensor] = []
    handle = raw_conditions.transformer.register_forward_pre_hook(
        lambda _, args, named: seen.append(named["video_coords"]), with_kwargs=True
    )
    import PIL.Image

    last = LTX2VideoCondition(frames=PIL.Image.fromarray(OTHER.pixels), index=-1, crf=0)
    call = {"width": 64, "height": 64, "num_frames": 25, "num_inference_steps": 2, "output_type": "latent"}
    raw_conditions(prompt="a fox", conditions=[last], guidance_scale=1.0, **call)
    handle.remove()
    assert float(seen[0][0, 0, 16, 0]) == pytest.approx(17 / 24)


def test_the_middle_picture_is_at_the_frame_that_is_asked_for(ltx2: LoadedLtx2) -> None:
    pictures = {"image": picture(64, 64), "middle_image": OTHER, "last_image": picture(64, 64)}
    assert _moments(ltx2, frames=25, **pictures) == pytest.approx([12 / 24, 24 / 24])
    assert _moments(ltx2, frames=25, middle_frame=5, **pictures) == pytest.approx([5 / 24, 24 / 24])
    assert ltx2.desk.notes["ltx2"]["keyframes"] == [
        {"frame": 0, "strength": 1.0},
        {"frame": 5, "strength": 1.0},
        {"frame": 24, "strength": 1.0},
    ]


def test_two_pictures_within_one_latent_keep_their_own_frames(ltx2: LoadedLtx2) -> None:
    moments = _moments(ltx2, frames=9, middle_frame=3, middle_image=picture(64, 64), last_image=OTHER)
    assert moments == pytest.approx([3 / 24, 8 / 24])


def test_a_last_picture_changes_the_clip_and_the_same_seed_repeats_it(ltx2: LoadedLtx2) -> None:
    one = _bytes(ltx2.make(last_image=OTHER))
    assert one == _bytes(ltx2.make(last_image=OTHER))
    assert one != _bytes(ltx2.make())
    assert one != _bytes(ltx2.make(last_image=picture(64, 64)))
    assert one != _bytes(ltx2.make(image=picture(64, 64), last_image=OTHER))


def test_a_wide_picture_is_cut_and_never_stretched(ltx2: LoadedLtx2) -> None:
    wide = picture(256, 64)
    cut = Image(cover_resize(wide.pixels, 64, 64))
    assert _bytes(ltx2.make(last_image=wide)) == _bytes(ltx2.make(last_image=cut))


# --- how firmly ------------------------------------------------------------------------------------------------------


def _first_frames_distance(ltx2: LoadedLtx2, strength: float) -> float:
    """Return how far the first latent frame moves from the picture's, over the steps."""
    seen: list[torch.Tensor] = []
    handle = ltx2.part.vae.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0][:, :, 0].clone()))
    try:
        for each in (1.0, strength):
            ltx2.make(image=picture(64, 64), last_image=OTHER, image_strength=each)
    finally:
        handle.remove()
    return float((seen[0] - seen[1]).square().mean().sqrt())


def test_a_weaker_picture_is_further_from_the_first_frame(ltx2: LoadedLtx2) -> None:
    kept, near, far = (_first_frames_distance(ltx2, strength) for strength in (1.0, 0.8, 0.3))
    assert kept == 0
    assert kept < near < far


def test_strength_below_one_needs_no_second_picture(ltx2: LoadedLtx2) -> None:
    assert _bytes(ltx2.make(image=picture(64, 64), image_strength=0.5)) != _bytes(ltx2.make(image=picture(64, 64)))
    assert ltx2.desk.warnings == ["3 steps are off the schedule of distilled weights, which is 8 (or 10)"] * 2


def test_a_keyframe_costs_no_further_pass(ltx2: LoadedLtx2) -> None:
    with batches(ltx2.part.transformer) as seen:
        ltx2.make(image=picture(64, 64), last_image=OTHER, image_strength=0.5)
        ltx2.make(last_image=OTHER, guidance=3.0)
    assert seen == [1, 1, 1] + [2, 1, 1] * 3


# --- with the rest ---------------------------------------------------------------------------------------------------


def test_both_stages_show_every_picture(two_stage: LoadedLtx2) -> None:
    sizes: list[tuple[int, ...]] = []
    handle = two_stage.part.vae.encoder.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[-2:]))
    try:
        two_stage.make(stages=2, width=128, height=128, image=picture(128, 128), last_image=OTHER)
    finally:
        handle.remove()
    assert [tuple(size) for size in sizes] == [(64, 64), (64, 64), (128, 128), (128, 128)]


@pytest.mark.parametrize(("changes", "has_relation"), [({}, True), ({"image_strength": 0.5}, False)])
def test_early_abort_looks_past_the_tokens_of_keyframes(
    ltx2: LoadedLtx2, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], has_relation: bool
) -> None:
    monkeypatch.setattr("deployments.nets.outlook.LEAST_RELATED", -2.0)
    monkeypatch.setattr("deployments.nets.outlook.FLATTEST", 0.0)
    monkeypatch.setattr("deployments.nets.outlook.STEEPEST", float("inf"))
    pictures: dict[str, Any] = {"image": picture(64, 64), "last_image": OTHER}
    plain = _bytes(ltx2.make(**pictures, **changes))
    watched = _bytes(ltx2.make(**pictures, **changes, early_abort="on"))
    assert plain == watched
    assert (ltx2.desk.notes["early_abort"]["relation"] is not None) is has_relation


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0, 1.7, -0.5, float("nan")])
def test_strengths_out_of_range_are_refused_where_diffusers_takes_them(strength: float) -> None:
    LTX2VideoCondition(frames=np.zeros((8, 8, 3), np.uint8), strength=strength)
    for field in ("image_strength", "middle_image_strength", "last_image_strength"):
        with pytest.raises(ValidationError):
            Ltx2.Params(**{field: strength})


@pytest.mark.parametrize(
    ("params", "port"),
    [
        ({"image_strength": 0.5}, "image"),
        ({"last_image_strength": 0.5}, "last_image"),
        ({"middle_image_strength": 0.5}, "middle_image"),
        ({"middle_frame": 4}, "middle_image"),
    ],
)
def test_what_would_have_no_effect_without_its_picture_is_refused(
    ltx2: LoadedLtx2, params: dict[str, Any], port: str
) -> None:
    assert Ltx2.requires(Ltx2.Params(**params)) == (port,)
    with pytest.raises(InvalidInput, match=f"{port}: is needed"):
        ltx2.make(**params)


@pytest.mark.parametrize("frame", [8, 9, 96])
def test_a_middle_frame_is_between_the_first_and_the_last(frame: int) -> None:
    with pytest.raises(InvalidInput, match=r"middle_frame: .* 9 frames, 0 and 8"):
        Ltx2.plan(Ltx2.Params(frames=9, middle_frame=frame))
    Ltx2.plan(Ltx2.Params(frames=9, middle_frame=7))


@pytest.mark.parametrize("port", ["middle_image", "last_image"])
def test_one_frame_has_no_last_one_beside_the_first(ltx2: LoadedLtx2, port: str) -> None:
    with pytest.raises(InvalidInput, match=f"frames: 1 leaves no frame for {port}"):
        ltx2.make(frames=1, **{port: OTHER})  # type: ignore[arg-type]
