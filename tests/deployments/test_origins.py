"""What made a clip or a picture reaches its file through every stage that works on what another made."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from deployments.encode.image import ImageEncoder
from deployments.gate.verdict import VerdictGate
from deployments.upscale.edsr import Edsr
from deployments.upscale.lanczos import Lanczos
from serve_app.core.media import Clip, Image
from serve_app.core.score import Score
from tests.deployments.desk import DeskContext

ORIGIN = {"stage": "generate.tiny", "model": "tiny", "seed": 7, "prompt": "a cat", "params": {"steps": 4}}
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), np.uint8)
CLIP = Clip(PIXELS, Fraction(24), "tiny", origin=ORIGIN)


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


@pytest.mark.parametrize("stage", [Lanczos, Edsr])
def test_an_enlarged_clip_keeps_its_origin(desk: DeskContext, stage: type[Any]) -> None:
    upscaler = stage()
    upscaler.load(stage.Weights(), desk)
    enlarged = upscaler.run(stage.Params(width=48, height=32), clip=CLIP)
    assert (enlarged.origin, enlarged.fps, enlarged.model) == (ORIGIN, CLIP.fps, "tiny")
    assert enlarged.shape.width == 48


def test_a_gate_that_replaces_the_first_frame_keeps_the_origin(desk: DeskContext) -> None:
    gate = VerdictGate()
    gate.load(VerdictGate.Weights(), desk)
    params = VerdictGate.Params(replace_first_frame=True)
    passed = gate.run(params, clip=CLIP, score=Score("judge", 100.0, "OK", ()), image=Image(PIXELS[1]))
    assert passed is not CLIP
    assert passed.origin == ORIGIN


def embedded(desk: DeskContext, image: Image, prompt: str | None = None, **params: Any) -> Any:
    stage = ImageEncoder()
    stage.load(ImageEncoder.Weights(), desk)
    artifact = stage.run(ImageEncoder.Params.model_validate(params), image=image, prompt=prompt)
    with PillowImage.open(io.BytesIO(desk.artifacts.path_of(artifact.digest).read_bytes())) as picture:
        text = getattr(picture, "text", {}).get("parameters") or picture.getexif().get(0x010E)
    return json.loads(text) if text else None


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_is_written_with_its_origin(desk: DeskContext, kind: str) -> None:
    assert embedded(desk, Image(PIXELS[0], "tiny", ORIGIN), format=kind) == ORIGIN


def test_a_prompt_that_was_rewritten_on_the_way_is_there_as_well(desk: DeskContext) -> None:
    found = embedded(desk, Image(PIXELS[0], "tiny", ORIGIN), "cat")
    assert found == {**ORIGIN, "prompt": "cat", "stage_was_given": {"prompt": "a cat"}}


def test_the_same_prompt_is_there_once(desk: DeskContext) -> None:
    assert embedded(desk, Image(PIXELS[0], "tiny", ORIGIN), "a cat") == ORIGIN


def test_an_origin_is_not_embedded_against_ones_will(desk: DeskContext) -> None:
    assert embedded(desk, Image(PIXELS[0], "tiny", ORIGIN), "cat", embed=False) is None


@pytest.mark.parametrize(
    ("long", "left"),
    [
        ({"prompt": "é" * 32_000}, {key: value for key, value in ORIGIN.items() if key != "prompt"}),
        ({"params": {"text": "x" * 70_000}}, {"seed": 7, "model": "tiny"}),
    ],
)
def test_what_a_jpeg_cannot_hold_is_left_out_with_a_word(
    desk: DeskContext, long: dict[str, Any], left: dict[str, Any]
) -> None:
    assert embedded(desk, Image(PIXELS[0], "tiny", {**ORIGIN, **long}), format="jpeg") == left
    assert "too long for a JPEG's EXIF" in desk.warnings[0]
