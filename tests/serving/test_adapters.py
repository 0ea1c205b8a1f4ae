"""Adapters at the public door: listed and refused by configuration and headers, and never a bad one in a generator."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from starlette.testclient import TestClient

from serve_app.commands.local import Local
from serve_app.config import AppConfig, plans_of
from serve_app.http.app import make_api
from serve_app.serving.service import RunService
from serve_app.serving.stores import open_artifacts, open_store

LAYER = "transformer.transformer_blocks.0.attn.to_q"
DOWN, UP = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"
INPUTS = {"prompt": "a fox", "seed": 1, "width": 32, "height": 32, "steps": 1, "on_fail": "warn"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.deployments.tiny_flux import build

    return build(tmp_path_factory.mktemp("flux") / "tiny-flux")


@pytest.fixture(scope="module")
def width(model: Path) -> int:
    config = json.loads((model / "transformer" / "config.json").read_text())
    return int(config["num_attention_heads"] * config["attention_head_dim"])


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    directory = tmp_path / "adapters"
    directory.mkdir()
    return directory


@pytest.fixture
def config(model: Path, adapters: Path, tmp_path: Path) -> AppConfig:
    lora = {
        "family": "flux",
        "model": str(model),
        "directories": [str(adapters)],
        "adapters": {"from-the-hub": {"repo": "ann/loras", "file": "a/b.safetensors", "triggers": ["ohwx"]}},
    }
    stages = {"adapt.lora": {"weights": lora}, "generate.flux": {"weights": {"model": str(model), "variant": "dev"}}}
    return AppConfig.model_validate({"pipelines": ["flux-lora"], "directory": tmp_path / "home", "stages": stages})


@pytest.fixture
def client(config: AppConfig) -> TestClient:
    service = RunService(open_store(config), open_artifacts(config), plans_of(config), config)
    return TestClient(make_api(service))


@pytest.fixture
def local(config: AppConfig) -> Iterator[Local]:
    found = Local(config, {})
    yield found
    found.close()


def good(width: int) -> dict[str, torch.Tensor]:
    return {DOWN: torch.ones(2, width), UP: torch.full((width, 2), 0.01)}


def put(directory: Path, name: str, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    path = directory / f"{name}.safetensors"
    save_file(tensors, path, metadata=metadata)
    return path


def ask(client: TestClient, adapter: Any) -> tuple[int, dict[str, Any]]:
    answer = client.post("/v1/runs", json={"pipeline": "flux-lora", "inputs": {**INPUTS, "adapter": adapter}})
    return answer.status_code, answer.json()


def test_the_list_has_files_and_configured_adapters(client: TestClient, adapters: Path, width: int) -> None:
    put(adapters, "style", good(width), {"trigger_words": "red fox, ohwx"})
    found = {each["name"]: each for each in client.get("/v1/adapters").json()["adapters"]}
    style, hub = found["style"], found["from-the-hub"]
    assert (style["base"], style["state"], style["layout"], style["dtype"]) == ("flux", "present", "peft A/B", "fp32")
    assert (style["ranks"], style["pairs"], style["triggers"]) == ([2, 2], 1, ["red fox", "ohwx"])
    assert style["size_bytes"] == (adapters / "style.safetensors").stat().st_size
    assert len(style["sha256"]) == 64
    assert (hub["state"], hub["source"], hub["file"], hub["triggers"]) == (
        "not downloaded", "hub", "b.safetensors", ["ohwx"],
    )  # fmt: skip


def test_a_file_that_changed_is_listed_anew(client: TestClient, adapters: Path, width: int) -> None:
    put(adapters, "style", good(width))
    before = client.get("/v1/adapters").json()["adapters"][-1]["sha256"]
    put(adapters, "style", {**good(width), DOWN: torch.zeros(2, width)})
    assert client.get("/v1/adapters").json()["adapters"][-1]["sha256"] != before


@pytest.mark.parametrize("name", ["cut", "two words", ".hidden"])
def test_what_cannot_be_used_is_listed_with_its_reason_or_is_hidden(
    client: TestClient, adapters: Path, width: int, name: str
) -> None:
    path = put(adapters, name, good(width))
    if name == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    found = {each["name"]: each for each in client.get("/v1/adapters").json()["adapters"]}
    reasons = {"cut": "cut.safetensors: it is truncated", "two words": "no request can say this name"}
    assert (name in found) == (name in reasons)
    assert name not in reasons or (found[name]["state"], reasons[name] in found[name]["error"]) == ("unreadable", True)


def test_listing_and_admitting_need_no_torch(config: AppConfig, adapters: Path, width: int, tmp_path: Path) -> None:
    put(adapters, "style", good(width))
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json())
    code = """
import sys
from pathlib import Path
from serve_app.config import AppConfig, plans_of
from serve_app.serving.adapters import admit, cards_of
config = AppConfig.model_validate_json(Path(sys.argv[1]).read_text())
admit(plans_of(config)["flux-lora"].bind({"prompt": "a", "seed": 1, "adapter": "style"}))
print(len(cards_of(config)), [name for name in ("torch", "diffusers", "safetensors") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"


def test_a_name_that_nobody_has_is_a_404_with_the_nearest(client: TestClient, adapters: Path, width: int) -> None:
    put(adapters, "anime-v2", good(width))
    status, problem = ask(client, "anime-v3")
    assert (status, problem["field"]) == (404, "inputs.adapter")
    assert "did you mean anime-v2" in problem["detail"]


def test_a_disk_that_the_ingress_does_not_see_is_left_to_the_stage(client: TestClient, adapters: Path) -> None:
    adapters.rmdir()
    assert ask(client, "anything")[0] == 202


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "x" * 200, "a b"])
def test_a_bad_name_is_a_422(client: TestClient, name: str) -> None:
    status, problem = ask(client, name)
    assert (status, problem["field"]) == (422, "inputs.adapter")


def test_an_adapter_that_is_wanted_and_not_named_is_a_400(config: AppConfig, tmp_path: Path) -> None:
    from serve_app.graph.spec import find_pipeline

    text = find_pipeline("flux-lora").model_dump_json(by_alias=True, exclude_defaults=True)
    spec = json.loads(text) | {"version": 1, "name": "characters"}
    del spec["inputs"]["adapter"]["optional"]
    file = tmp_path / "characters.yaml"
    file.write_text(json.dumps(spec))
    other = config.model_copy(update={"pipelines": (str(file),)})
    service = RunService(open_store(other), open_artifacts(other), plans_of(other), other)
    answer = TestClient(make_api(service)).post("/v1/runs", json={"pipeline": "characters", "inputs": INPUTS})
    assert (answer.status_code, answer.json()["field"]) == (400, "inputs.adapter")


Spoil = Callable[[dict[str, torch.Tensor]], object]
STRANGER = {"transformer.x.lora_A.weight": torch.ones(2, 3), "transformer.x.lora_B.weight": torch.ones(3, 2)}
AT_THE_DOOR: dict[str, tuple[Spoil, str]] = {
    "only A": (lambda made: made.pop(UP), "no lora_B"),
    "ranks differ": (lambda made: made.update({DOWN: torch.ones(3, made[DOWN].shape[1])}), "the ranks differ"),
    "DoRA": (lambda made: made.update({f"{LAYER}.dora_scale": torch.ones(1)}), "DoRA"),
    "unknown": (lambda made: made.update({f"{LAYER}.surprise": torch.ones(1)}), "nobody knows"),
}
"""What the header alone shows."""
IN_THE_RUN: dict[str, tuple[Spoil, str]] = {
    "no match": (lambda made: _rename(made, "nobody.at.all"), "has a place in Flux"),
    "a stranger": (lambda made: made.update(STRANGER), "no place"),
    "inputs": (lambda made: made.update({DOWN: torch.ones(2, 5)}), "takes 5 inputs"),
    "NaN": (lambda made: made[UP].fill_(float("nan")), "finite"),
    "zeros": (lambda made: made[UP].zero_(), "all zeros"),
}
"""What takes the base, or the numbers."""


def _rename(made: dict[str, torch.Tensor], name: str) -> None:
    for key in (DOWN, UP):
        made[key.replace(LAYER, name)] = made.pop(key)


@pytest.mark.parametrize("kind", AT_THE_DOOR)
def test_a_file_whose_header_is_wrong_is_a_422_before_anything_is_recorded(
    client: TestClient, adapters: Path, width: int, kind: str
) -> None:
    made, (spoil, reason) = good(width), AT_THE_DOOR[kind]
    spoil(made)
    put(adapters, "bad", made)
    status, problem = ask(client, "bad")
    assert (status, problem["code"]) == (422, "bad_adapter")
    assert reason in problem["detail"]
    assert "bad.safetensors" in problem["detail"]
    assert client.get("/v1/runs").json()["runs"] == []


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_a_pickle_is_a_422(client: TestClient, adapters: Path, suffix: str) -> None:
    (adapters / f"bad{suffix}").write_bytes(b"PK\x03\x04")
    status, problem = ask(client, "bad")
    assert (status, problem["code"]) == (422, "bad_adapter")
    assert "pickle" in problem["detail"]


def test_of_every_other_bad_file_the_run_ends_as_a_422_and_the_generator_never_starts(
    local: Local, adapters: Path, width: int
) -> None:
    for kind, (spoil, reason) in IN_THE_RUN.items():
        made = good(width)
        spoil(made)
        put(adapters, "bad", made)
        run_id = local.submit("flux-lora", {**INPUTS, "adapter": "bad"}, {})
        happened = list(local.follow(run_id))
        error = happened[-1].data["error"]
        assert (happened[-1].kind, error["status"], error["code"]) == ("failed", 422, "bad_adapter"), kind
        assert "bad.safetensors" in error["detail"], kind
        assert reason in error["detail"], kind
        assert [each.data["node"] for each in happened if each.kind == "step.started"] == ["adapters"], kind


def test_a_good_one_is_applied_and_named_in_the_header(local: Local, adapters: Path, width: int) -> None:
    put(adapters, "style", good(width))
    run_id = local.submit("flux-lora", {**INPUTS, "adapter": "style@0.5"}, {})
    assert list(local.follow(run_id))[-1].kind == "succeeded"
    answer = TestClient(make_api(local._service)).get(f"/v1/runs/{run_id}")
    assert answer.headers["x-lora-used"] == "style@0.5"
