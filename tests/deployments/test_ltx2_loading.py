"""Loading LTX-2: whole weights from a directory without a network, or an error that names what is wrong."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from deployments.nets import loading
from deployments.nets.held import Options
from deployments.nets.loading import resolve_dtype
from deployments.nets.ltx2 import FAMILY, Checkpoint, _arrange
from deployments.nets.ltx2_prompts import PromptCache
from serve_app.core.errors import Cancelled, Misconfigured
from tests.deployments.loaded_ltx2 import LoadedLtx2, RawLtx2, batches, load, load_raw, picture, quantised
from tests.deployments.tiny_ltx2 import build

_WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_ltx2_dir: Path, tmp_path: Path) -> Path:
    """Return a copy of the weights that a test may spoil."""
    return Path(shutil.copytree(tiny_ltx2_dir, tmp_path / "copy"))


def _refusal(directory: Path | str, desk: Path, **weights: Any) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        load(Path(directory), desk, **{"model": str(directory), **weights})
    return caught.value


def _drop(file: Path, part_of_name: str) -> str:
    tensors: dict[str, torch.Tensor] = load_file(file)
    name = next(name for name in sorted(tensors) if part_of_name in name)
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    return name


def test_a_directory_is_loaded_without_a_network(
    tiny_ltx2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a directory needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load(tiny_ltx2_dir, tmp_path).make().model == "tiny-ltx2"


def test_a_path_that_does_not_exist_is_never_looked_up_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("looked up"))
    refusal = _refusal(tmp_path / "nowhere", tmp_path)
    assert refusal.where == "weights.model"
    assert "there is no directory" in refusal.reason


def test_a_directory_in_another_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert "no model_index.json" in _refusal(tmp_path / "other", tmp_path).reason


def test_a_revision_of_a_directory_is_refused(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    assert _refusal(tiny_ltx2_dir, tmp_path, revision="main").where == "weights.revision"


def test_pickled_weights_are_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "transformer" / _WEIGHTS).unlink()
    torch.save({}, copy / "transformer" / "diffusion_pytorch_model.bin")
    refusal = _refusal(copy, tmp_path)
    assert refusal.where == "weights.model"
    assert "transformer is pickled (diffusion_pytorch_model.bin); only safetensors are read" in refusal.reason


@pytest.mark.parametrize("part", ["transformer", "vae", "connectors", "vocoder"])
def test_a_missing_file_is_refused(copy: Path, tmp_path: Path, part: str) -> None:
    (copy / part / _WEIGHTS).unlink()
    refusal = _refusal(copy, tmp_path)
    assert refusal.where == "weights.model"
    assert part in refusal.reason


def test_a_truncated_file_is_refused(copy: Path, tmp_path: Path) -> None:
    file = copy / "transformer" / _WEIGHTS
    file.write_bytes(file.read_bytes()[:100_000])
    assert _refusal(copy, tmp_path).where == "weights.model"


def test_a_missing_tensor_is_refused_where_diffusers_leaves_a_hole(copy: Path, tmp_path: Path) -> None:
    name = _drop(copy / "transformer" / _WEIGHTS, "to_q.weight")
    assert load_raw(copy).from_text.transformer.get_parameter(name).is_meta
    assert f"transformer lacks 1 tensors, {name} among them" in _refusal(copy, tmp_path).reason


def test_a_missing_tensor_of_the_text_encoder_is_refused_where_transformers_invents_it(
    copy: Path, tmp_path: Path
) -> None:
    _drop(copy / "text_encoder" / "model.safetensors", "q_proj.weight")
    assert load_raw(copy).from_text.text_encoder is not None
    refusal = _refusal(copy, tmp_path)
    assert refusal.where == "weights.model"
    assert "text_encoder lacks 1 tensors" in refusal.reason


def test_weights_of_another_shape_are_refused(copy: Path, tmp_path: Path) -> None:
    file = copy / "connectors" / _WEIGHTS
    tensors = load_file(file)
    name = next(iter(sorted(tensors)))
    tensors[name] = tensors[name][..., :-1].contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    assert _refusal(copy, tmp_path).where == "weights.model"


def test_the_version_is_held_against_the_weights(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    refusal = _refusal(tiny_ltx2_dir, tmp_path, version="2.3")
    assert refusal.where == "weights.version"
    assert "LTX-2.0" in refusal.reason


def test_offloading_is_refused_on_a_cpu(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    assert _refusal(tiny_ltx2_dir, tmp_path, offload="model").where == "weights.offload"


def test_parts_that_come_and_go_make_the_same_clip_also_after_a_cancelled_run(
    ltx2: LoadedLtx2, tiny_ltx2_dir: Path, tmp_path: Path
) -> None:
    """What `offload: model` arranges on a GPU, with the CPU as the device to come and go from."""
    checkpoint = Checkpoint(
        model=str(tiny_ltx2_dir),
        revision=None,
        version="2.0",
        dtype=torch.float32,
        device="cpu",
    )
    offloaded = load(tiny_ltx2_dir, tmp_path)
    pipelines = _arrange(loading.read(FAMILY, checkpoint), replace(checkpoint, options=Options(offload="model")))
    offloaded.stage._pipelines, offloaded.stage._prompts = pipelines, PromptCache(pipelines.encoder, entries=0)
    assert hasattr(pipelines.from_text.transformer, "_hf_hook")
    offloaded.desk.cancel_after = 1
    with pytest.raises(Cancelled):
        offloaded.make()
    offloaded.clear()
    difference = offloaded.make(image=picture(64, 64)).frames.astype(int) - ltx2.make(image=picture(64, 64)).frames
    assert np.abs(difference).max() <= 1


def test_auto_is_bf16_on_a_gpu_and_fp32_on_a_cpu() -> None:
    assert resolve_dtype("auto", "cuda") is torch.bfloat16
    assert resolve_dtype("auto", "cpu") is torch.float32
    assert resolve_dtype("fp32", "cuda") is torch.float32


def test_bf16_weights_run_on_a_cpu_too(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    loaded = load(tiny_ltx2_dir, tmp_path, dtype="bf16")
    clip = loaded.make(guidance=3.0, image=picture(64, 64))
    assert loaded.desk.notes["ltx2"]["dtype"] == "bfloat16"
    assert clip.frames.std() > 0


def test_tiles_are_a_choice(ltx2: LoadedLtx2, tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    tiled = load(tiny_ltx2_dir, tmp_path, vae_tiling=True)
    with batches(tiled.part.vae.decoder) as seen:
        assert tiled.make(width=640, frames=1, steps=1).frames.shape == (1, 64, 640, 3)
    assert len(seen) == 2
    assert not ltx2.part.vae.use_tiling


def test_what_would_rewrite_the_prompt_is_not_loaded(ltx2: LoadedLtx2) -> None:
    assert (ltx2.part.prompt_enhancer, ltx2.part.duration_head, ltx2.part.processor) == (None, None, None)


@pytest.mark.parametrize(("version", "crf"), [("2.3", 33), ("2.5", 18)])
def test_newer_versions_are_sampled_as_they_want(tmp_path: Path, version: str, crf: int) -> None:
    weights = build(tmp_path / "newer", version)
    loaded = load(weights, tmp_path, version=version)
    clip = loaded.make(image=picture(64, 64))
    raw: RawLtx2 = load_raw(weights)
    with raw.static():
        expected = raw.call(image=picture(64, 64), use_cross_timestep=True, image_crf=crf)
    assert np.array_equal(clip.frames, quantised(expected.frames))
    assert clip.audio is not None
    assert (clip.audio.rate, clip.audio.samples.shape[1]) == (48_000, 18_000)


@pytest.mark.parametrize(("version", "block"), [("2.0", 29), ("2.3", 28), ("2.5", 28)])
def test_a_versions_own_block_is_the_one_that_guidance_perturbs(tmp_path: Path, version: str, block: int) -> None:
    """The tiny transformer has neither, which is how we know."""
    reason = _refusal(build(tmp_path / "tiny", version), tmp_path, version=version, distilled=False, stg_blocks=None)
    assert f"{block} of the transformer's blocks 0 to 3" in reason.reason


def test_the_same_seed_builds_the_same_tiny_weights(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again")
    files = [path.relative_to(again) for path in again.rglob("*.safetensors")]
    assert len(files) == 6
    assert all((again / file).read_bytes() == (tiny_ltx2_dir / file).read_bytes() for file in files)
