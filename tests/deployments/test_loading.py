"""Loading any family: whole weights of the right family, and two pipelines that share them without harm."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import FluxImg2ImgPipeline, FluxPipeline
from safetensors.torch import load_file, save_file

from deployments.nets.loading import Checkpoint, Family, memory_of, read, sibling
from serve_app.core.errors import Misconfigured, OutOfMemory
from tests.deployments.tiny_flux import build

FAMILY = Family(name="FLUX.1", pipeline=FluxPipeline, text_encoders=("text_encoder", "text_encoder_2"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("flux") / "tiny-flux")


def checkpoint(directory: Path, dtype: torch.dtype = torch.float32) -> Checkpoint:
    return Checkpoint(model=str(directory), revision=None, dtype=dtype, device="cpu")


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_a_missing_tensor_of_any_text_encoder_is_refused_where_transformers_invents_it(
    weights: Path, tmp_path: Path, part: str
) -> None:
    copy = Path(shutil.copytree(weights, tmp_path / "copy"))
    file = copy / part / "model.safetensors"
    tensors = load_file(file)
    name = next(key for key in sorted(tensors) if key.endswith(("q_proj.weight", "q.weight")))
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    assert FluxPipeline.from_pretrained(copy, local_files_only=True, dtype=torch.float32) is not None
    with pytest.raises(Misconfigured, match=rf"weights\.model: {part} lacks 1 tensors"):
        read(FAMILY, checkpoint(copy))


def test_a_truncated_text_encoder_is_refused(weights: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(weights, tmp_path / "copy"))
    file = copy / "text_encoder" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(Misconfigured, match=r"weights\.model"):
        read(FAMILY, checkpoint(copy))


def test_weights_of_another_family_are_refused(weights: Path) -> None:
    family = replace(FAMILY, name="Qwen-Image", transformer="QwenImageTransformer2DModel")
    with pytest.raises(Misconfigured, match="the transformer is a FluxTransformer2DModel, and Qwen-Image's is a Qwen"):
        read(family, checkpoint(weights))


def test_a_part_can_be_held_in_fp32_beside_bf16(weights: Path) -> None:
    pipeline = read(replace(FAMILY, fp32=("vae", "text_encoder")), checkpoint(weights, torch.bfloat16))
    kept = (pipeline.vae.dtype, pipeline.text_encoder.dtype)
    assert kept == (torch.float32, torch.float32)
    assert (pipeline.transformer.dtype, pipeline.text_encoder_2.dtype) == (torch.bfloat16, torch.bfloat16)


def test_siblings_share_weights_and_no_scheduler(weights: Path) -> None:
    pipeline = read(FAMILY, checkpoint(weights, torch.bfloat16))
    other = sibling(FluxImg2ImgPipeline, pipeline)
    assert other.transformer is pipeline.transformer
    assert other.scheduler is not pipeline.scheduler
    assert other.scheduler.config == pipeline.scheduler.config
    assert other.transformer.dtype is torch.bfloat16
    theirs = FluxImg2ImgPipeline.from_pipe(pipeline)
    assert theirs.scheduler is pipeline.scheduler
    assert pipeline.transformer.dtype is torch.float32  # `from_pipe` turned the shared modules into fp32


def test_a_full_device_is_named() -> None:
    with (
        pytest.raises(OutOfMemory, match="a picture of 64x64 does not fit on cuda"),
        memory_of("a picture of 64x64", "cuda"),
    ):
        raise torch.OutOfMemoryError
