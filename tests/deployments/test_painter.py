"""Making one picture: what is checked of a job, and weights that come and go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxImg2ImgPipeline, FluxPipeline
from diffusers.image_processor import VaeImageProcessor

from deployments.nets.held import Options
from deployments.nets.loading import Checkpoint, Family, read
from deployments.nets.painter import Painter, Quantiser, job_of
from serve_app.core.errors import Cancelled, InvalidInput, OutOfMemory, StageError
from serve_app.core.media import Image
from tests.deployments.desk import DeskContext
from tests.deployments.loaded_picture import PROMPT, picture
from tests.deployments.tiny_flux import build

FAMILY = Family(name="FLUX.1", pipeline=FluxPipeline, text_encoders=("text_encoder", "text_encoder_2"))


def painter(directory: Path, desk: DeskContext, is_offloaded: bool = False) -> Painter:
    checkpoint = Checkpoint(model=str(directory), revision=None, dtype=torch.float32, device="cpu")
    made = Painter("generate.x", read(FAMILY, checkpoint), FluxImg2ImgPipeline, desk)
    made.settle(replace(checkpoint, options=Options(offload="model" if is_offloaded else "none")))
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("flux") / "tiny-flux")


def paint(maker: Painter, image: Image | None = None) -> Image:
    return maker.paint(job_of((40, 24), 4, 7, image, None), {"prompt": PROMPT})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed: -1 is not 0 to"),
        ({"seed": 2**63}, "seed: "),
        ({"strength": 0.5}, "strength: has an effect only with an image"),
        ({"strength": 0.9, "image": picture(8, 8)}, "strength: 0.9 of 4 steps is rounded up"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"size": (64, 64), "steps": 4, "seed": 7, "image": None, "strength": None}
    with pytest.raises(InvalidInput, match=message):
        job_of(**{**given, **changes})


def test_a_picture_is_repainted_by_six_tenths_unless_told(weights: Path) -> None:
    facts = job_of((64, 64), 10, 7, picture(8, 8), None).facts
    assert (facts["strength"], facts["steps_run"]) == (0.6, 6)
    assert "strength" not in job_of((64, 64), 10, 7, None, None).facts


def test_parts_that_come_and_go_make_the_same_picture_also_after_a_cancelled_run(weights: Path, tmp_path: Path) -> None:
    """What `offload: model` arranges on a GPU, with the CPU as the device to come and go from."""
    desk = DeskContext(tmp_path)
    offloaded, settled = painter(weights, desk, is_offloaded=True), painter(weights, desk)
    assert hasattr(offloaded.from_text.transformer, "_hf_hook")
    desk.cancel_after = 1
    with pytest.raises(Cancelled):
        paint(offloaded)
    desk.cancel_after = None
    for image in (None, picture(40, 24)):
        assert np.array_equal(paint(offloaded, image).pixels, paint(settled, image).pixels)


def test_a_full_device_says_what_did_not_fit(weights: Path, tmp_path: Path) -> None:
    maker = painter(weights, DeskContext(tmp_path))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    handle = maker.from_text.transformer.register_forward_pre_hook(full)
    with pytest.raises(OutOfMemory, match="a picture of 48x32 does not fit on cpu"):
        paint(maker)
    handle.remove()
    assert paint(maker).pixels.shape == (24, 40, 3)


def test_a_decoded_picture_is_rounded_where_diffusers_clamps_infinity_to_white() -> None:
    decoded = torch.full((1, 3, 4, 4), 2 * 100.75 / 255 - 1)
    quantiser = Quantiser("generate.x", VaeImageProcessor(vae_scale_factor=16))
    assert quantiser.config.vae_scale_factor == 16
    assert (quantiser.postprocess(decoded)[0] == 101).all()
    decoded[0, 0, 0, 0] = float("inf")
    with pytest.raises(StageError, match="the picture holds"):
        quantiser.postprocess(decoded)
    assert VaeImageProcessor().postprocess(decoded, "np")[0, 0, 0, 0] == 1
