"""The EDSR network alone: sizes, reach, tiles, and its weights file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling
from safetensors import safe_open
from safetensors.torch import save_file

from deployments.nets.edsr import (
    BASELINE,
    BUILTIN,
    BUILTIN_X1_5,
    FULL,
    SMALL,
    SMALL_X1_5,
    Edsr,
    EdsrConfig,
    flops,
    load,
    receptive_radius,
    save,
    tiled,
)
from deployments.nets.lanczos import resample
from deployments.nets.training.pictures import DATA_LICENCE, HELD_OUT, TRAINED, dead_leaves

MICRO = EdsrConfig(blocks=1, features=4, mean=(0.2, 0.4, 0.6))
X4 = dataclasses.replace(MICRO, scale=4)
X1_5 = dataclasses.replace(MICRO, scale=3, tail="lean", skip="bicubic", unshuffle=2)
X3_LEAN = dataclasses.replace(MICRO, scale=3, tail="lean", skip="bicubic")


def fresh(config: EdsrConfig) -> Edsr:
    torch.manual_seed(0)
    return Edsr(config).double().eval().requires_grad_(False)


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("config", "parameters", "tflop_720p"),
    [(SMALL, 87_596, 0.161), (BASELINE, 1_369_859, 2.53), (FULL, 40_729_603, 75.1)],
)
def test_presets_have_the_published_sizes(config: EdsrConfig, parameters: int, tflop_720p: float) -> None:
    with torch.device("meta"):
        network = Edsr(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert flops(config, 720, 1280) / 1e12 == pytest.approx(tflop_720p, rel=5e-3)


@pytest.mark.parametrize("config", [MICRO, X4, X3_LEAN, SMALL, X1_5])
def test_flops_count_every_convolution(config: EdsrConfig) -> None:
    counted = 0

    def count(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(module, torch.nn.Conv2d)
        counted += 2 * module.weight[0].numel() * output.numel()

    network = fresh(config)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    network(picture(6, 8))
    assert flops(config, 6, 8) == counted


@pytest.mark.parametrize("config", [MICRO, X4, X3_LEAN, SMALL])
def test_an_output_pixel_sees_exactly_the_receptive_radius(config: EdsrConfig) -> None:
    radius = receptive_radius(config)
    network = fresh(config)
    for parameter in network.parameters():  # all positive: nothing cancels, no rectifier hides a path
        parameter.copy_(parameter.abs())
    size = 2 * radius + 5
    x = picture(size, size).requires_grad_()
    middle = size // 2 * config.scale
    network(x)[0, :, middle : middle + config.scale, middle : middle + config.scale].sum().backward()
    assert x.grad is not None
    touched = x.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    assert (int(touched.min()), int(touched.max())) == (size // 2 - radius, size // 2 + radius)


@pytest.mark.parametrize("config", [MICRO, X4, X3_LEAN, SMALL, X1_5])
def test_tiles_need_the_receptive_radius_and_no_more(config: EdsrConfig) -> None:
    step = config.unshuffle
    network, x, radius = fresh(config), picture(36 + step % 2, 50 + step % 2), receptive_radius(config)
    whole = network(x)
    assert torch.allclose(tiled(network, x, 16), whole, rtol=0, atol=1e-12)
    assert not torch.allclose(tiled(network, x, 16, halo=radius - step), whole, rtol=0, atol=1e-12)


def test_one_and_a_half_times_keeps_every_pixel_in_its_place() -> None:
    network = fresh(SMALL_X1_5)
    for parameter in network.up.parameters():
        parameter.zero_()
    x = picture(12, 16)
    assert network(x).shape == (1, 3, 18, 24)
    expected = torch.nn.functional.interpolate(x, (18, 24), mode="bicubic", align_corners=False)
    assert torch.allclose(network(x), expected, atol=1e-12)
    ramp = torch.arange(16.0, dtype=torch.float64).expand(1, 3, 12, 16).contiguous()
    position = (torch.arange(24.0) + 0.5) / 1.5 - 0.5
    assert torch.allclose(network(ramp)[0, 0, 6, 4:-4].float(), position[4:-4], atol=0.06)


def test_16_bit_weights_keep_the_mean_and_the_last_addition_exact() -> None:
    network = fresh(dataclasses.replace(SMALL, mean=(0.4488, 0.4371, 0.404))).float()
    for parameter in network.parameters():
        parameter.zero_()  # the correction is nothing: what comes out is the addition alone
    x = picture(9, 11).float()
    exact = network(x)
    halved = network.channels_last().computing_in(torch.bfloat16)(x)
    assert halved.dtype is torch.float32
    assert torch.equal(halved, exact)
    assert network.mean.dtype is torch.float32


def test_what_a_dtype_cannot_hold_is_not_saved(tmp_path: Path) -> None:
    network = fresh(MICRO).float()
    network.head.weight.mul_(1e6)
    with pytest.raises(ValueError, match=r"head\.weight has values that float16 cannot hold"):
        save(network, tmp_path / "x.safetensors", {})
    save(network, tmp_path / "x.safetensors", {}, torch.float32)


def test_tiles_of_the_bundled_network_agree() -> None:
    network = load(BUILTIN["small"])
    x = torch.tensor(dead_leaves(900, size=96)).permute(2, 0, 1)[None] / 255
    assert (tiled(network, x, 32) - network(x)).abs().max() <= 1e-5
    network, x = network.double(), x.double()
    assert (tiled(network, x, 32) - network(x)).abs().max() <= 1e-13
    assert (tiled(network, x, 32, halo=receptive_radius(SMALL) - 1) - network(x)).abs().max() > 1e-9


def test_channels_last_changes_the_layout_only() -> None:
    network = fresh(MICRO)
    before = network(picture(9, 11))
    assert torch.allclose(network.channels_last()(picture(9, 11)), before, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5)])
def test_any_size_is_legal(size: tuple[int, int]) -> None:
    assert fresh(SMALL)(picture(*size)).shape == (1, 3, 2 * size[0], 2 * size[1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks": 0},
        {"features": 0},
        {"scale": 5},
        {"scale": 1},
        {"tail": "short"},
        {"skip": "nearest"},
        {"value_range": 0.0},
        {"residual_scale": float("nan")},
        {"mean": (0.5, 0.5)},
        {"mean": (100.0, 0.0, 0.0)},
        {"unshuffle": 2},
        {"unshuffle": 0},
    ],
)
def test_a_config_refuses_what_makes_no_network(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(MICRO, **wrong)  # type: ignore[arg-type]


def test_weights_survive_the_file(tmp_path: Path) -> None:
    network = fresh(X3_LEAN).float()
    save(network, tmp_path / "net.safetensors", {"data": "none"}, torch.float32)
    again = load(tmp_path / "net.safetensors")
    assert again.config == X3_LEAN
    assert not again.training
    x = picture(6, 8).float()
    assert torch.equal(again(x), network(x))


def write(path: Path, config: EdsrConfig, fields: dict[str, object]) -> Path:
    """A weights file whose tensors are those of ``config``, but whose configuration says ``fields`` instead."""
    metadata = {"edsr": json.dumps({**dataclasses.asdict(config), **fields})}
    save_file(dict(Edsr(config).state_dict()), path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"blocks": 2}, "Missing key"),
        ({"features": 8}, "size mismatch"),
        ({"tail": "lean"}, "Unexpected key"),
        ({"scale": 7}, "scale=7"),
        ({"mean": None}, "NoneType"),
        ({"colour": "BGR"}, "colour"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, fields: dict[str, object], complaint: str) -> None:
    path = write(tmp_path / "odd.safetensors", MICRO, fields)
    with pytest.raises(ValueError, match=complaint) as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load(tmp_path / "text.safetensors")
    save_file({"head.weight": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="no 'edsr' metadata"):
        load(tmp_path / "bare.safetensors")


@pytest.mark.parametrize(("path", "config"), [(BUILTIN["small"], SMALL), (BUILTIN_X1_5, SMALL_X1_5)])
def test_the_bundled_weights_say_where_they_come_from(path: Path, config: EdsrConfig) -> None:
    assert path.stat().st_size < 500_000
    assert load(path).config == config
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        assert all(file.get_tensor(name).dtype is torch.float16 for name in file.keys())  # noqa: SIM118 - not a dict
    assert facts["data"] == DATA_LICENCE
    assert "deployments.nets.training.edsr --steps" in facts["training"]
    gains = json.loads(facts["psnr_y_gain_db"])
    assert {key.split("/")[0] for key in gains} == set(HELD_OUT)
    assert not set(HELD_OUT) & set(TRAINED)


@pytest.mark.parametrize("size", [(30, 41), (80, 100), (60, 80), (17, 140)])
def test_lanczos_by_matrices_is_pillows(size: tuple[int, int]) -> None:
    channel = picture(60, 80)[0, 0].float()
    expected = np.asarray(Image.fromarray(channel.numpy()).resize((size[1], size[0]), Resampling.LANCZOS))
    assert np.abs(resample(channel, *size).numpy() - expected).max() < 1e-5
