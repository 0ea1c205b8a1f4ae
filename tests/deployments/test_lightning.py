"""Lightning's adapter: merged exactly, or refused with the module at fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import QwenImagePipeline, QwenImageTransformer2DModel

from deployments.nets import lightning
from deployments.nets.lightning import scheduler
from serve_app.core import digest
from serve_app.core.errors import Misconfigured
from serve_app.core.source import HubFile, LocalPath, named_file
from tests.deployments.loaded_picture import raw
from tests.deployments.tiny_qwen_image import BLOCKS, TARGETS, adapter, build, save

Tensors = dict[str, torch.Tensor]
FIRST = "transformer_blocks.0.attn.to_q"


def merge(transformer: torch.nn.Module, path: str, sha256: str | None = None) -> int:
    return lightning.merge(transformer, LocalPath(path), sha256)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("qwen") / "tiny-qwen")


@pytest.fixture
def transformer(weights: Path) -> torch.nn.Module:
    loaded: torch.nn.Module = QwenImageTransformer2DModel.from_pretrained(weights, subfolder="transformer")
    return loaded


def test_every_weight_is_what_diffusers_makes_of_it(
    weights: Path, transformer: torch.nn.Module, tmp_path: Path
) -> None:
    tensors = adapter(transformer, rank=4, alpha=2.0)
    assert merge(transformer, str(save(tensors, tmp_path / "a.safetensors"))) == BLOCKS * len(TARGETS)
    pipeline = raw(QwenImagePipeline, weights)
    pipeline.load_lora_weights(dict(tensors), adapter_name="quick")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    ours, theirs = transformer.state_dict(), pipeline.transformer.state_dict()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-6


@pytest.mark.parametrize("prefix", ["", "transformer.", "diffusion_model."])
@pytest.mark.parametrize(
    "names", [("lora_down", "lora_up"), ("lora_A", "lora_B"), ("lora_A.default", "lora_B.default")]
)
def test_the_layouts_in_use_are_one(
    transformer: torch.nn.Module, tmp_path: Path, prefix: str, names: tuple[str, str]
) -> None:
    before = transformer.get_parameter(f"{FIRST}.weight").detach().clone()
    tensors = {
        prefix + key.replace("lora_down", names[0]).replace("lora_up", names[1]): value
        for key, value in adapter(transformer, rank=2, alpha=1.0).items()
    }
    merge(transformer, str(save(tensors, tmp_path / "a.safetensors")))
    plain = adapter(transformer, rank=2)
    change = 0.5 * plain[f"{FIRST}.lora_up.weight"] @ plain[f"{FIRST}.lora_down.weight"]
    assert torch.allclose(transformer.get_parameter(f"{FIRST}.weight"), before + change, atol=1e-6)


def test_bf16_weights_are_rounded_once(transformer: torch.nn.Module, tmp_path: Path) -> None:
    half = transformer.to(torch.bfloat16)
    before = half.get_parameter(f"{FIRST}.weight").float()
    tensors = adapter(half)
    merge(half, str(save(tensors, tmp_path / "a.safetensors")))
    change = 0.5 * tensors[f"{FIRST}.lora_up.weight"] @ tensors[f"{FIRST}.lora_down.weight"]
    assert torch.equal(half.get_parameter(f"{FIRST}.weight"), (before + change).to(torch.bfloat16))


def _without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if part not in key}


def _with(key: str, value: torch.Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, key: value}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_without(f"{FIRST}."), "23 modules of at least 24: attn.to_q is adapted in 1 of 2 blocks"),
        (_without("transformer_blocks.1."), "is adapted in 1 of 2 blocks"),
        (_without(f"{FIRST}.lora_up"), rf"{FIRST}: it has lora_A \(down\) and no lora_B"),
        (_without(f"{FIRST}.lora_down"), rf"{FIRST}: it has lora_B \(up\) and no lora_A"),
        (_with("transformer_blocks.0.attn.to_x.lora_up.weight", torch.ones(2, 2)), "no such layer"),
        (_with("lora_te_text.lora.weight", torch.ones(2, 2)), "nobody knows what this tensor is"),
        (_with(f"{FIRST}.dora_scale", torch.ones(2)), "DoRA"),
        (_with(f"{FIRST}.lora_up.weight", torch.ones(7, 2)), "it gives 7 outputs"),
        (_with(f"{FIRST}.lora_up.weight", torch.ones(64, 3)), "the ranks differ"),
        (_with(f"{FIRST}.lora_up.weight", torch.full((64, 2), float("nan"))), "not a finite number"),
        (_with(f"{FIRST}.lora_up.weight", torch.zeros(64, 2)), "all zeros"),
        (_with(f"{FIRST}.alpha", torch.tensor(float("inf"))), "not a finite number"),
        (lambda _: {}, "it holds no tensors"),
    ],
)
def test_an_adapter_that_is_not_whole_changes_nothing(
    transformer: torch.nn.Module, tmp_path: Path, spoil: Callable[[Tensors], Tensors], reason: str
) -> None:
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    file = save(spoil(adapter(transformer)), tmp_path / "a.safetensors")
    with pytest.raises(Misconfigured, match=reason) as caught:
        merge(transformer, str(file))
    assert caught.value.where == "weights.lightning"
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())


def test_modules_that_the_transformer_lacks_are_refused(transformer: torch.nn.Module, tmp_path: Path) -> None:
    tensors = {key.replace("attn.to_q", "attn.to_quick"): value for key, value in adapter(transformer).items()}
    with pytest.raises(Misconfigured, match=r"transformer_blocks\.\d\.attn\.to_quick: .* no such layer"):
        merge(transformer, str(save(tensors, tmp_path / "a.safetensors")))


def test_a_file_that_is_no_safetensors_is_refused(transformer: torch.nn.Module, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"pickle")
    with pytest.raises(Misconfigured, match=r"weights\.lightning: a\.safetensors: it is truncated"):
        merge(transformer, str(tmp_path / "a.safetensors"))


def test_another_file_than_the_configured_one_is_refused(transformer: torch.nn.Module, tmp_path: Path) -> None:
    path = save(adapter(transformer), tmp_path / "a.safetensors")
    with pytest.raises(Misconfigured, match=r"weights\.lightning_sha256: .* has [0-9a-f]{64}"):
        merge(transformer, str(path), "0" * 64)
    assert merge(transformer, str(path), digest.of_file(path)) == BLOCKS * len(TARGETS)


def test_a_file_of_the_hub_is_pinned_by_its_revision(tmp_path: Path) -> None:
    name = "lightx2v/Qwen-Image-Lightning/v2/4-steps.safetensors"
    pinned = HubFile("lightx2v/Qwen-Image-Lightning", "v2/4-steps.safetensors", "main", "0" * 64)
    assert named_file(name, "main", "0" * 64) == pinned
    assert named_file("/models/4-steps.safetensors") == LocalPath("/models/4-steps.safetensors")


def test_the_schedule_does_not_depend_on_the_size_and_is_not_stretched() -> None:
    lists = []
    for _ in range(2):
        steps = scheduler()
        steps.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], mu=steps.config.max_shift)
        lists.append([round(float(sigma), 4) for sigma in steps.sigmas])
    assert lists[0] == lists[1] == [1.0, 0.9, 0.75, 0.5, 0.0]
