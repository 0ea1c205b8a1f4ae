"""`greenlight convert` as a person calls it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from deployments.nets.edsr import load
from deployments.upscale.edsr import Edsr
from serve_app.__main__ import main
from tests.deployments.desk import DeskContext
from tests.deployments.foreign_edsr import Basic, SuperImage, fill
from tests.deployments.tensorflow_graph import opencv_edsr

UNIT = torch.rand(1, 3, 10, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def theirs(tmp_path: Path) -> Basic:
    network = Basic(2, 8, 2, 0.1)
    fill(network, 2, 0.1, 255)
    torch.save({"params": network.state_dict()}, tmp_path / "EDSR_M.pth")
    return network


def test_it_writes_what_the_stage_reads(tmp_path: Path, theirs: Basic, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "edsr.safetensors"
    assert main(["convert", str(tmp_path / "EDSR_M.pth"), str(out), "--residual-scale", "0.1"]) == 0
    said = capsys.readouterr().out
    assert f"{out}: x2, 2 blocks of 8" in said
    assert "convention: basicsr" in said
    network = load(out)
    assert network.config.residual_scale == 0.1
    assert (network(UNIT) - theirs(UNIT)).abs().max() < 1e-5
    with safe_open(out, framework="pt") as file:
        facts = file.metadata()
    assert facts["units"] == "0..255, minus a mean of 0.4488, 0.4371, 0.404, RGB"
    assert facts["source"] == "EDSR_M.pth"
    assert json.loads(facts["edsr"])["mean"] == [0.4488, 0.4371, 0.404]
    stage = Edsr()
    stage.load(Edsr.Weights(file=str(out)), DeskContext(tmp_path))


def test_channels_of_opencv_are_turned_once_and_for_all(tmp_path: Path) -> None:
    (tmp_path / "EDSR_x2.pb").write_bytes(opencv_edsr(1, 6, 2, 0.1))
    assert main(["convert", str(tmp_path / "EDSR_x2.pb"), str(tmp_path / "x.safetensors"), "--dtype", "fp16"]) == 0
    mean = load(tmp_path / "x.safetensors").config.mean
    assert mean == pytest.approx((0.4485, 0.4375, 0.4045), abs=1e-4), "RGB, which a BGR file's is not"


def test_a_guess_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = SuperImage(2, 8, 2, 1.0)
    fill(network, 2, 1.0, 1)
    torch.save(network.state_dict(), tmp_path / "x.pt")
    assert main(["convert", str(tmp_path / "x.pt"), str(tmp_path / "x.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "convention: super-image" in said
    assert "the file does not say its units" in said


@pytest.mark.parametrize(
    ("out", "complaint"),
    [("x.pt", "OUT: .*does not end in .safetensors"), ("no/x.safetensors", "there is no directory")],
)
def test_out_is_checked_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, complaint: str
) -> None:
    assert main(["convert", str(tmp_path / "nowhere.pt"), str(tmp_path / out)]) == 1
    assert re.search(complaint, capsys.readouterr().err)


def test_nothing_is_written_over(tmp_path: Path, theirs: Basic, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.safetensors").write_text("mine")
    assert main(["convert", str(tmp_path / "EDSR_M.pth"), str(tmp_path / "x.safetensors")]) == 1
    assert (tmp_path / "x.safetensors").read_text() == "mine"
    assert "OUT" in capsys.readouterr().err


def test_a_wrong_convention_is_refused_and_leaves_no_file(
    tmp_path: Path, theirs: Basic, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.safetensors"
    command = ["convert", str(tmp_path / "EDSR_M.pth"), str(out), "--convention", "super-image"]
    assert main([*command, "--residual-scale", "0.1"]) == 1
    assert re.search(r"it fits .*edsr-pytorch", capsys.readouterr().err)
    assert not out.exists()
