"""`encode.image`: a file that any reader opens, with its parameters inside, the same bytes every time."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from pydantic import ValidationError
from skimage import data

from deployments.encode.image import ImageEncoder
from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Image
from serve_app.core.picture import read_picture
from tests.deployments.desk import DeskContext

PHOTO = Image(data.astronaut()[:120, :160].copy(), "tiny-flux")
MADE_FROM = {"prompt": "un café à l'aube", "seed": 7, "model": "tiny-flux", "steps": 28, "guidance": 3.5}


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def encode(desk: DeskContext, image: Image = PHOTO, prompt: str | None = None, **params: Any) -> tuple[Artifact, bytes]:
    stage = ImageEncoder()
    stage.load(ImageEncoder.Weights(), desk)
    artifact = stage.run(ImageEncoder.Params(**params), image=image, prompt=prompt, seed=7 if prompt else None)
    return artifact, desk.artifacts.path_of(artifact.digest).read_bytes()


@pytest.mark.parametrize("params", [{"format": "png"}, {"format": "webp", "lossless": True}])
def test_a_lossless_file_holds_the_very_pixels(desk: DeskContext, params: dict[str, Any]) -> None:
    _, file = encode(desk, **params)
    assert np.array_equal(read_picture(file, max_px=10**6).pixels, PHOTO.pixels)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_lossy_file_is_near_and_small(desk: DeskContext, kind: str) -> None:
    _, file = encode(desk, format=kind)
    error = read_picture(file, max_px=10**6).pixels.astype(int) - PHOTO.pixels
    assert np.sqrt((error**2).mean()) < 4
    assert len(file) < PHOTO.pixels.size / 3
    _, rough = encode(desk, format=kind, quality=10)
    assert len(rough) < len(file)


def test_colour_at_full_resolution_is_nearer(desk: DeskContext) -> None:
    def error(subsampling: str) -> float:
        _, file = encode(desk, format="jpeg", subsampling=subsampling)
        return float(np.abs(read_picture(file, max_px=10**6).pixels.astype(int) - PHOTO.pixels).mean())

    assert error("4:4:4") < error("4:2:0")


@pytest.mark.parametrize(
    ("kind", "media_type", "name"),
    [("png", "image/png", "image.png"), ("jpeg", "image/jpeg", "image.jpg"), ("webp", "image/webp", "image.webp")],
)
def test_the_artifact_says_what_it_is(desk: DeskContext, kind: str, media_type: str, name: str) -> None:
    artifact, file = encode(desk, format=kind)
    assert (artifact.media_type, artifact.name, artifact.size_bytes) == (media_type, name, len(file))
    assert artifact.facts == {"width": 160, "height": 120, "format": kind, "model": "tiny-flux"}


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_what_it_was_made_from_is_in_the_file(desk: DeskContext, kind: str) -> None:
    artifact, file = encode(desk, prompt="un café à l'aube", format=kind, steps=28, guidance=3.5)
    with PillowImage.open(io.BytesIO(file)) as picture:
        text = picture.text["parameters"] if kind == "png" else picture.getexif()[0x010E]  # type: ignore[attr-defined]
    assert json.loads(text) == MADE_FROM
    assert {key: artifact.facts[key] for key in MADE_FROM} == MADE_FROM


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_nothing_is_embedded_that_must_not_be(desk: DeskContext, kind: str) -> None:
    artifact, file = encode(desk, prompt="secret", format=kind, embed=False)
    assert b"secret" not in file
    assert b"Greenlight" not in file
    assert "prompt" not in artifact.facts


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_same_picture_gives_the_same_bytes(desk: DeskContext, kind: str) -> None:
    shared = Image(PHOTO.pixels.copy(), PHOTO.model)
    shared.pixels.flags.writeable = False
    assert encode(desk, prompt="a", format=kind) == encode(desk, shared, prompt="a", format=kind)


def test_a_prompt_that_a_jpeg_cannot_hold_is_left_out_with_a_word(desk: DeskContext) -> None:
    artifact, _ = encode(desk, prompt="é" * 32_000, format="jpeg")
    assert desk.warnings == ["the prompt is too long for a JPEG's EXIF and is not embedded"]
    assert (artifact.facts.get("prompt"), artifact.facts["seed"]) == (None, 7)


def test_an_upload_without_a_model_has_none_embedded(desk: DeskContext) -> None:
    _, file = encode(desk, Image(PHOTO.pixels))
    with PillowImage.open(io.BytesIO(file)) as picture:
        assert "parameters" not in picture.text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"format": "png", "quality": 90}, "quality"),
        ({"format": "jpeg", "lossless": True}, "lossless"),
        ({"format": "jpeg", "compression": 9}, "compression"),
        ({"format": "webp", "subsampling": "4:2:0"}, "subsampling"),
        ({"format": "webp", "lossless": True, "quality": 50}, "quality"),
        ({"embed": False, "steps": 4}, "steps"),
    ],
)
def test_a_param_without_effect_is_refused_at_plan_time(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ImageEncoder.plan(ImageEncoder.Params(**params))
    assert caught.value.field == field


@pytest.mark.parametrize("params", [{"format": "gif"}, {"quality": 0}, {"name": "../x"}, {"dpi": 300}])
def test_values_out_of_range_and_unknown_keys_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImageEncoder.Params(**params)


@pytest.mark.parametrize(("height", "kind"), [(0, "png"), (16384, "webp")])
def test_a_size_that_the_format_cannot_hold_is_refused(desk: DeskContext, height: int, kind: str) -> None:
    with pytest.raises(InvalidInput, match=f"height: {height} px"):
        encode(desk, Image(np.zeros((height, 1, 3), np.uint8)), format=kind)
