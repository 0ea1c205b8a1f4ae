"""`greenlight pull` as a person calls it, against a hub on this machine; and serving after it, without any hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.__main__ import main
from serve_app.commands.pull import needs_of, size
from serve_app.core import hub as cache
from serve_app.core.source import HubModel, LocalPath
from tests.hub.server import Fault, Hub, Repository, from_directory

MODEL = "ann/tiny-flux"
FILE = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.deployments.tiny_flux import build

    directory = build(tmp_path_factory.mktemp("flux") / "tiny-flux", "schnell")
    for name in ("flux-in-one-file.safetensors", "transformer/diffusion_pytorch_model.fp16.safetensors", "README.md"):
        (directory / name).write_bytes(b"not needed")
    return directory


@pytest.fixture
def model(hub: Hub, weights: Path) -> Repository:
    hub.repositories[MODEL] = Repository(from_directory(weights))
    return hub.repositories[MODEL]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return _profile(tmp_path, {"generate.flux": {"weights": {"model": MODEL, "variant": "schnell"}}})


def _profile(directory: Path, stages: dict[str, Any], pipelines: tuple[str, ...] = ("flux-image",)) -> Path:
    path = directory / "profile.yaml"
    args = {"pipelines": list(pipelines), "stages": stages, "directory": str(directory / "home")}
    path.write_text(yaml.safe_dump({"applications": [{"import_path": "serve_app.app:build", "args": args}]}))
    return path


@pytest.mark.slow
def test_everything_is_pulled_and_serving_needs_no_hub_afterwards(
    hub: Hub, model: Repository, profile: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", str(profile), "--jobs", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].endswith("everything is here")
    assert f"{MODEL}/{FILE}: {size(len(model.files[FILE]))}" in said
    asked = {each.path.rpartition("/resolve/")[2].partition("/")[2] for each in hub.gets("")}
    assert not asked & {"flux-in-one-file.safetensors", "README.md"}
    hub.asked.clear()
    code = """
import sys
from deployments.generate.flux import Flux
from tests.deployments.desk import DeskContext
from pathlib import Path
stage = Flux()
stage.load(Flux.Weights(model=sys.argv[1], variant="schnell"), DeskContext(Path(sys.argv[2])))
print(stage.run(Flux.Params(width=32, height=32, steps=1), prompt="a fox", seed=1).pixels.shape)
"""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub-cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, MODEL, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(32, 32, 3)", done.stderr[-3000:]
    assert hub.asked == []


def test_a_second_pull_fetches_nothing(hub: Hub, model: Repository, profile: Path) -> None:
    assert main(["pull", str(profile)]) == 0
    hub.asked.clear()
    assert main(["pull", str(profile)]) == 0
    assert not [each for each in hub.asked if "/resolve/" in each.path]


def test_one_failure_hinders_no_other_file_and_is_one_line(
    hub: Hub, model: Repository, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults[FILE] = Fault(times=99, status=404)
    assert main(["pull", str(profile)]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"greenlight: {MODEL}/{FILE}: HTTP 404: it is not there"]
    assert said.out.splitlines()[-1].endswith("1 could not be had")
    assert cache.commit_here(MODEL, "main") is None  # nothing is to be served from half a model
    hub.faults.clear()
    hub.asked.clear()
    assert main(["pull", str(profile)]) == 0
    assert [each.path for each in hub.asked if "/resolve/" in each.path] == [f"/{MODEL}/resolve/{'c' * 40}/{FILE}"]


def test_a_broken_connection_is_resumed(hub: Hub, model: Repository, profile: Path) -> None:
    hub.faults[FILE] = Fault(cut_at=100_000)
    assert main(["pull", str(profile)]) == 0
    assert [each.range for each in hub.gets(FILE)] == [None, "bytes=100000-"]


def test_the_list_shows_size_licence_and_what_is_here(
    hub: Hub, model: Repository, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", str(profile), "--list"]) == 0
    before = capsys.readouterr().out.splitlines()
    head, row = before[0].split(), next(line for line in before if line.startswith(MODEL))
    assert head == ["Source", "Files", "Size", "Licence", "Here"]
    assert "apache-2.0" in row
    assert not hub.gets(".safetensors")
    main(["pull", str(profile)])
    capsys.readouterr()
    main(["pull", str(profile), "--list"])
    after = capsys.readouterr().out.splitlines()
    assert next(line for line in after if line.startswith(MODEL)).split()[-1] == "yes"
    assert after[-1].startswith("Total")


def test_a_repository_that_cannot_be_listed_is_a_line_and_an_exit_code(
    hub: Hub, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", str(profile), "--list"]) == 1
    assert capsys.readouterr().err == f"greenlight: {MODEL}: HTTP 404: it is not there\n"


def test_what_was_spoiled_on_the_disk_is_found_and_fetched_again(
    hub: Hub, model: Repository, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["pull", str(profile)])
    path = cache.find(MODEL, FILE, None)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    assert main(["pull", str(profile), "--verify"]) == 0
    assert f"{MODEL}/{FILE}: its digest was" in capsys.readouterr().out
    assert path.read_bytes() == model.files[FILE]


def test_a_path_that_is_not_there_is_told_and_never_fetched(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = _profile(tmp_path, {"generate.flux": {"weights": {"model": "/nowhere/flux", "variant": "dev"}}})
    assert needs_of(str(profile)) == [LocalPath("/nowhere/flux")]
    assert main(["pull", str(profile)]) == 1
    assert "/nowhere/flux: there is no such path" in capsys.readouterr().err


def test_a_shipped_pipeline_is_enough_of_a_name() -> None:
    assert needs_of("animatic-fidelity") == []
    assert needs_of("ltx2-fidelity-1080p")


def test_a_revision_is_part_of_the_source(tmp_path: Path) -> None:
    weights = {"model": MODEL, "variant": "dev", "revision": "v1"}
    assert needs_of(str(_profile(tmp_path, {"generate.flux": {"weights": weights}}))) == [HubModel(MODEL, "v1")]


def test_sizes_are_for_people() -> None:
    assert [size(count) for count in (None, 5, 2048, 9_980_000_000)] == ["?", "5 B", "2.0 KiB", "9.3 GiB"]
