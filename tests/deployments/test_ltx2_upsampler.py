"""The latent upsampler of LTX-2: whole, of the right kind, and never in the way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from deployments.generate.ltx2 import Ltx2
from serve_app.core.errors import Misconfigured, StageError
from tests.deployments.loaded_ltx2 import LoadedLtx2, load, replaced
from tests.deployments.tiny_ltx2 import build_upsampler

_WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale": 1.5}, "it enlarges 1.5 times, and the recipe twice"),
        ({"is_temporal": True}, "it enlarges time"),
        ({"channels": 8}, "latents of 8 channels, and these have 16"),
    ],
)
def test_an_upsampler_that_would_change_the_size_asked_for_is_refused(
    tiny_ltx2_dir: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    other = build_upsampler(tmp_path / "other", **changes)
    with pytest.raises(Misconfigured, match=said):
        load(tiny_ltx2_dir, tmp_path, latent_upsampler=str(other))


@pytest.fixture
def spoiled(tiny_upsampler_dir: Path, tmp_path: Path) -> Path:
    """Return a copy of the upsampler that a test may spoil."""
    return Path(shutil.copytree(tiny_upsampler_dir, tmp_path / "spoiled"))


def _refusal(directory: Path, desk: Path, upsampler: str, **weights: Any) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        load(directory, desk, latent_upsampler=upsampler, **weights)
    return caught.value


def test_a_missing_tensor_is_refused_where_diffusers_leaves_it_without_storage(
    tiny_ltx2_dir: Path, spoiled: Path, tmp_path: Path
) -> None:
    tensors = load_file(spoiled / _WEIGHTS)
    del tensors["final_conv.weight"]
    save_file(tensors, spoiled / _WEIGHTS, metadata={"format": "pt"})
    refusal = _refusal(tiny_ltx2_dir, tmp_path, str(spoiled))
    assert refusal.where == "weights.latent_upsampler"
    assert "1 missing keys, final_conv.weight among them" in refusal.reason


def test_pickles_and_what_is_not_there_are_refused(tiny_ltx2_dir: Path, spoiled: Path, tmp_path: Path) -> None:
    torch.save(load_file(spoiled / _WEIGHTS), spoiled / "diffusion_pytorch_model.bin")
    (spoiled / _WEIGHTS).unlink()
    for place in (str(spoiled), "/nowhere/at/all"):
        assert _refusal(tiny_ltx2_dir, tmp_path, place).where == "weights.latent_upsampler"


def test_a_revision_is_of_a_hub_id(tiny_ltx2_dir: Path, tiny_upsampler_dir: Path, tmp_path: Path) -> None:
    refusal = _refusal(tiny_ltx2_dir, tmp_path, str(tiny_upsampler_dir), latent_upsampler_revision="main")
    assert refusal.where == "weights.latent_upsampler_revision"
    with pytest.raises(Misconfigured, match="there is no latent_upsampler that it is of"):
        load(tiny_ltx2_dir, tmp_path, latent_upsampler_revision="main")


def test_a_directory_may_have_it_as_a_folder(
    tiny_ltx2_dir: Path, tiny_upsampler_dir: Path, tmp_path: Path, two_stage: LoadedLtx2
) -> None:
    shutil.copytree(tiny_upsampler_dir, tmp_path / "model" / "latent_upsampler")
    loaded = load(tiny_ltx2_dir, tmp_path, latent_upsampler=str(tmp_path / "model"))
    assert loaded.make(stages=2).frames.tobytes() == two_stage.make(stages=2).frames.tobytes()


def test_pull_fetches_the_upsampler_of_a_hub_id_and_no_more_of_its_repository() -> None:
    weights = Ltx2.Weights(model="owner/model", latent_upsampler="owner/upsampler", latent_upsampler_revision="v1")
    titles = [source.title for source in weights.sources()]
    assert titles == [
        "owner/model",
        "owner/upsampler/latent_upsampler/config.json@v1",
        f"owner/upsampler/latent_upsampler/{_WEIGHTS}@v1",
    ]


def test_nan_from_the_upsampler_is_named(two_stage: LoadedLtx2) -> None:
    bias = two_stage.stage._pipelines.upsampler._module.final_conv.bias  # type: ignore[union-attr]
    with replaced(bias, float("nan")), pytest.raises(StageError, match="the enlarged latents"):
        two_stage.make(stages=2)


def test_the_upsampler_comes_and_goes_where_parts_are_offloaded(
    two_stage: LoadedLtx2, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployments.nets.ltx2_upsampler import Upsampler

    module = two_stage.stage._pipelines.upsampler._module  # type: ignore[union-attr]
    moves: list[str] = []
    monkeypatch.setattr(module, "to", lambda device: moves.append(str(device)))
    Upsampler(module, torch.device("cpu"), is_offloaded=True)(torch.zeros(1, 16, 1, 2, 2))
    assert moves == ["cpu", "cpu"]
