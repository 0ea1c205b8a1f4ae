"""EDSR weights in every layout that they are published in: the same bytes as their makers' own networks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deployments.nets.edsr import Edsr, EdsrConfig, save
from deployments.nets.edsr_files import Wish, read
from deployments.nets.edsr_layouts import renamed
from deployments.nets.training.pictures import dead_leaves
from deployments.upscale.edsr import Edsr as Stage
from serve_app.core.errors import Misconfigured
from tests.deployments.clips import clip_of
from tests.deployments.desk import DeskContext
from tests.deployments.foreign_edsr import Authors, Basic, SuperImage, as_levels, fill
from tests.deployments.tensorflow_graph import opencv_edsr

BGR_MEAN = np.array([103.1545782, 111.561547, 114.35629928], np.float32).reshape(1, 3, 1, 1)
PICTURE = dead_leaves(902, size=48)[:40]
UNIT: Tensor = torch.tensor(PICTURE).permute(2, 0, 1)[None].float() / 255


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def authors(folder: Path, scale: int, residual_scale: float = 0.1) -> tuple[Path, Tensor]:
    """Write an EDSR-PyTorch checkpoint; return its path and what its own network makes of the picture, in 0..255."""
    network = Authors(3, 12, scale, residual_scale)
    fill(network, scale, residual_scale, 255)
    torch.save(network.state_dict(), folder / "edsr_x.pt")
    return folder / "edsr_x.pt", network(UNIT * 255).detach()


def super_image(folder: Path, scale: int, ending: str = ".bin") -> tuple[Path, Tensor]:
    network = SuperImage(3, 12, scale, 0.1)
    fill(network, scale, 0.1, 1)
    path = folder / f"pytorch_model_{scale}x{ending}"
    if ending == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    (folder / "config.json").write_text(json.dumps({"model_type": "EDSR", "res_scale": 0.1, "rgb_range": 255}))
    return path, network(UNIT).detach() * 255


def basicsr(folder: Path, scale: int, key: str = "params") -> tuple[Path, Tensor]:
    network = Basic(3, 12, scale, 0.1)
    fill(network, scale, 0.1, 255)
    torch.save({key: network.state_dict()}, folder / "EDSR_M.pth")
    return folder / "EDSR_M.pth", network(UNIT).detach() * 255


def opencv(folder: Path, scale: int, is_packed: bool = True) -> tuple[Path, Tensor]:
    path = folder / f"EDSR_x{scale}.pb"
    path.write_bytes(opencv_edsr(3, 12, scale, 0.1, is_packed))
    theirs = cv2.dnn.readNetFromTensorflow(str(path))
    theirs.setInput(np.ascontiguousarray(UNIT.numpy()[:, ::-1] * 255 - BGR_MEAN))
    return path, torch.tensor(np.ascontiguousarray((theirs.forward() + BGR_MEAN)[:, ::-1]))


MAKERS: dict[str, Callable[[Path, int], tuple[Path, Tensor]]] = {
    "authors": authors,
    "super-image": super_image,
    "basicsr": basicsr,
    "opencv": opencv,
}
WISHES: dict[str, dict[str, Any]] = {
    "authors": {"residual_scale": 0.1},
    "super-image": {},
    "basicsr": {"residual_scale": 0.1},
    "opencv": {},
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("maker", MAKERS)
def test_every_layout_gives_its_makers_bytes(desk: DeskContext, tmp_path: Path, maker: str, scale: int) -> None:
    path, theirs = MAKERS[maker](tmp_path, scale)
    network = read(path, Wish(**WISHES[maker])).network
    assert (network(UNIT) * 255 - theirs).abs().max() < 2e-3
    stage = Stage()
    stage.load(Stage.Weights(file=str(path), dtype="fp32", **WISHES[maker]), desk)
    ours = stage.run(Stage.Params(), clip=clip_of(PICTURE[None].copy())).frames[0]
    expected = as_levels(theirs[0].permute(1, 2, 0)).numpy()
    assert np.abs(ours.astype(int) - expected).max() <= 1
    assert np.mean(ours != expected) < 1e-3


@pytest.mark.parametrize("key", ["params", "params_ema", "state_dict"])
def test_tensors_may_stand_under_a_key(tmp_path: Path, key: str) -> None:
    path, theirs = basicsr(tmp_path, 2, key)
    assert (read(path, Wish(residual_scale=0.1)).network(UNIT) * 255 - theirs).abs().max() < 2e-3


def test_averaged_weights_come_before_the_others(tmp_path: Path) -> None:
    path, theirs = basicsr(tmp_path, 2)
    state = torch.load(path)["params"]
    torch.save({"params": {name: tensor * 0 for name, tensor in state.items()}, "params_ema": state}, path)
    assert (read(path, Wish(residual_scale=0.1)).network(UNIT) * 255 - theirs).abs().max() < 2e-3


def test_the_prefix_of_a_parallel_training_is_taken_off(tmp_path: Path) -> None:
    path, theirs = authors(tmp_path, 2)
    torch.save({f"module.{name}": tensor for name, tensor in torch.load(path).items()}, path)
    assert (read(path, Wish(residual_scale=0.1)).network(UNIT) * 255 - theirs).abs().max() < 2e-3


def test_safetensors_of_others_are_read(tmp_path: Path) -> None:
    path, theirs = super_image(tmp_path, 2, ".safetensors")
    assert (read(path).network(UNIT) * 255 - theirs).abs().max() < 2e-3


def test_unpacked_graphs_are_read_too(tmp_path: Path) -> None:
    path, theirs = opencv(tmp_path, 2, is_packed=False)
    assert (read(path).network(UNIT) * 255 - theirs).abs().max() < 2e-3


@pytest.mark.parametrize(("features", "expected"), [(12, 1.0), (256, 0.1)])
def test_wide_networks_are_taken_to_scale_their_residuals_and_narrow_ones_not(features: int, expected: float) -> None:
    found = renamed(Authors(1, features, 2, expected).state_dict())
    assert found.config(None).residual_scale == expected
    assert found.config(0.3).residual_scale == 0.3


@pytest.mark.parametrize("maker", ["authors", "super-image"])
def test_units_that_a_file_does_not_say_are_found_by_a_photograph_and_doubted(
    desk: DeskContext, tmp_path: Path, maker: str
) -> None:
    path, theirs = MAKERS[maker](tmp_path, 2)
    (tmp_path / "config.json").unlink(missing_ok=True)
    stage = Stage()
    stage.load(Stage.Weights(file=str(path), dtype="fp32", residual_scale=0.1), desk)
    ours = stage.run(Stage.Params(), clip=clip_of(PICTURE[None].copy())).frames[0]
    assert np.abs(ours.astype(int) - as_levels(theirs[0].permute(1, 2, 0)).numpy()).max() <= 1
    assert desk.notes["edsr"]["convention"] == ("edsr-pytorch" if maker == "authors" else maker)
    assert "the file does not say its units" in desk.warnings[0]


@pytest.mark.parametrize(
    ("maker", "said", "fits"),
    [
        ("authors", "super-image", "edsr-pytorch"),
        ("super-image", "edsr-pytorch", "super-image"),
        ("super-image", "opencv", "super-image"),
        ("basicsr", "super-image", "edsr-pytorch"),
        ("opencv", "super-image", "opencv"),
    ],
)
def test_a_wrong_convention_is_refused_and_the_right_one_named(
    desk: DeskContext, tmp_path: Path, maker: str, said: Any, fits: str
) -> None:
    path, _ = MAKERS[maker](tmp_path, 2)
    weights = Stage.Weights(file=str(path), convention=said, **WISHES[maker])
    with pytest.raises(
        Misconfigured, match=rf"weights\.file: .*in the units of {said}.* dB below bicubic.*; it fits .*{fits} "
    ):
        Stage().load(weights, desk)


def test_weights_that_no_convention_makes_better_are_refused(desk: DeskContext, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(Authors(1, 8, 2, 1.0).state_dict(), tmp_path / "fresh.pt")
    with pytest.raises(Misconfigured, match="it is not trained, or no EDSR"):
        Stage().load(Stage.Weights(file=str(tmp_path / "fresh.pt")), desk)
    save(Edsr(EdsrConfig(blocks=1, features=4)), tmp_path / "fresh.safetensors", {})
    with pytest.raises(Misconfigured, match="in the units of its metadata"):
        Stage().load(Stage.Weights(file=str(tmp_path / "fresh.safetensors")), desk)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    path, _ = authors(tmp_path, 2)
    torch.save({name: tensor * float("nan") for name, tensor in torch.load(path).items()}, path)
    with pytest.raises(ValueError, match="below bicubic"):
        read(path)


class Touch:
    """A pickle that would run something."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    torch.save({"head.0.weight": Touch(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="more than tensors"):
        read(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def spoil(path: Path, change: str) -> Path:
    state = torch.load(path)
    if change == "missing":
        del state["body.1.body.2.bias"]
    elif change == "left over":
        state["extra.weight"] = torch.zeros(1)
    elif change == "gap":
        state = {name: tensor for name, tensor in state.items() if not name.startswith("body.1.")}
    elif change == "no tail":
        state = {name: tensor for name, tensor in state.items() if not name.startswith("tail.0")}
    elif change == "x5":
        state["tail.0.0.bias"] = torch.zeros(12 * 25)
    elif change == "size":
        state["head.0.weight"] = torch.zeros(12, 4, 3, 3)
    elif change == "else":
        state = {"conv.weight": torch.zeros(1)}
    elif change == "list":
        state = [torch.zeros(1)]
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("missing", "body.1.body.2.bias is missing"),
        ("left over", "extra.weight belongs to no EDSR"),
        ("gap", "without a gap"),
        ("no tail", "nothing in it enlarges"),
        ("x5", "neither x2 nor x3"),
        ("size", "size mismatch for head"),
        ("else", "no EDSR layout that is known"),
        ("list", "no dictionary of tensors"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_what_is_wrong(
    tmp_path: Path, change: str, complaint: str
) -> None:
    path = spoil(authors(tmp_path, 2)[0], change)
    with pytest.raises(ValueError, match=complaint) as raised:
        read(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("ending", [".pt", ".safetensors", ".pb"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, ending: str) -> None:
    if ending == ".safetensors":
        path, _ = super_image(tmp_path, 2, ending)
    else:
        path, _ = (authors if ending == ".pt" else opencv)(tmp_path, 2)
    data = path.read_bytes()
    for length in (0, 1, 7, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=str(path.name)):
            read(path)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ends in none of \.safetensors, \.pb"):
        read(tmp_path / "x.onnx")


def test_what_a_file_says_itself_may_not_be_said_again(desk: DeskContext, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="says itself what its units are"):
        Stage().load(Stage.Weights(convention="opencv"), desk)
    path, _ = opencv(tmp_path, 2)
    with pytest.raises(ValueError, match="leave the residual scale out"):
        read(path, Wish(residual_scale=0.5))


def test_a_config_beside_it_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    path, _ = super_image(tmp_path, 2)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "EDSR", "res_scale": "a tenth"}))
    with pytest.raises(ValueError, match="res_scale of 'a tenth'"):
        read(path)
