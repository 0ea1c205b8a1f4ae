"""`adapt.lora` with adapters of the hub and of addresses: fetched once, checked, and never from where a client says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save

from deployments.adapt.lora import Lora
from serve_app.__main__ import main
from serve_app.core import digest
from serve_app.core.adapter import Adapter, WantedAdapters
from serve_app.core.errors import BadAdapter, Cancelled, InvalidInput, Misconfigured, NotFetched
from serve_app.core.source import HubFile, HubModel, WebFile
from tests.deployments.desk import DeskContext
from tests.hub.server import Fault, Hub, Repository

LAYER = "transformer.transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.deployments.tiny_flux import build

    return build(tmp_path_factory.mktemp("flux") / "tiny-flux")


@pytest.fixture
def data(model: Path) -> bytes:
    config = json.loads((model / "transformer" / "config.json").read_text())
    width = config["num_attention_heads"] * config["attention_head_dim"]
    tensors = {f"{LAYER}.lora_A.weight": torch.ones(2, width), f"{LAYER}.lora_B.weight": torch.ones(width, 2)}
    made: bytes = save(tensors, metadata={"trigger_word": "ohwx"})
    return made


@dataclass
class Loaded:
    """A stage and its desk."""

    stage: Lora
    desk: DeskContext

    def find(self, names: str, prompt: str | None = None, **params: Any) -> tuple[Adapter, ...]:
        found = self.stage.run(Lora.Params(**params), adapter=WantedAdapters.parse(names), prompt=prompt)
        return found.items


def load(model: Path, root: Path, **weights: Any) -> Loaded:
    stage, desk = Lora(), DeskContext(root / "desk")
    stage.load(Lora.Weights.model_validate({"family": "flux", "model": str(model), **weights}), desk)
    return Loaded(stage, desk)


@pytest.fixture
def lora(hub: Hub, model: Path, data: bytes, tmp_path: Path) -> Loaded:
    hub.repositories["ann/loras"] = Repository({"styles/anime.safetensors": data})
    hub.plain["/files/film.safetensors"] = data[:-1] + b"\x40"  # one number is another
    adapters = {
        "anime": {"repo": "ann/loras", "file": "styles/anime.safetensors"},
        "film": {"url": f"{hub.url}/files/film.safetensors", "triggers": ["film grain"]},
        "wrong": {"url": f"{hub.url}/files/film.safetensors", "sha256": "0" * 64},
        "gone": {"url": f"{hub.url}/files/gone.safetensors"},
    }
    return load(model, tmp_path, adapters=adapters)


def test_an_adapter_of_the_hub_is_fetched_once_with_progress(hub: Hub, lora: Loaded, data: bytes) -> None:
    (adapter,) = lora.find("anime@0.8")
    assert (adapter.name, adapter.strength, adapter.digest) == ("anime", 0.8, digest.of_bytes(data))
    assert lora.desk.steps[-1] == (len(data), len(data))
    assert lora.desk.notes["adapters"][0]["was_fetched"]
    hub.asked.clear()
    assert lora.find("anime") == (Adapter(**{**vars(adapter), "strength": 1.0}),)
    assert hub.asked == []
    assert not lora.desk.notes["adapters"][0]["was_fetched"]


def test_an_adapter_of_an_address_is_fetched_once(hub: Hub, lora: Loaded) -> None:
    (adapter,) = lora.find("film", "a cat")
    assert adapter.triggers == ("film grain",)
    assert any("film grain" in each for each in lora.desk.warnings)
    lora.find("film")
    assert len(hub.gets("film.safetensors")) == 1


def test_a_prompt_that_another_stage_prefixes_is_not_warned_of(lora: Loaded) -> None:
    lora.find("anime", "a cat", trigger="ignore")
    assert lora.desk.warnings == []


def test_another_file_than_configured_is_refused(lora: Loaded) -> None:
    with pytest.raises(NotFetched, match="0000 was expected"):
        lora.find("wrong")


def test_what_cannot_be_had_is_told_without_the_query(lora: Loaded) -> None:
    with pytest.raises(NotFetched, match=r"/files/gone\.safetensors: HTTP 404"):
        lora.find("gone")


def test_a_cancelled_run_stops_in_the_middle_of_a_download(hub: Hub, lora: Loaded) -> None:
    lora.desk.cancel_after = 1
    with pytest.raises(Cancelled):
        lora.find("anime")
    lora.desk.cancel_after = None
    assert lora.find("anime")[0].name == "anime"


def test_a_broken_download_is_resumed(hub: Hub, lora: Loaded, data: bytes) -> None:
    hub.faults["anime.safetensors"] = Fault(cut_at=200)
    lora.find("anime")
    assert hub.gets("anime.safetensors")[-1].range == "bytes=200-"


@pytest.mark.parametrize("name", ["https://evil.example/a.safetensors", "ann/other", "file:///etc/passwd"])
def test_a_client_names_adapters_and_never_places(lora: Loaded, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a name"):
        lora.find(name)


def test_a_file_at_a_path_is_held_against_its_digest(model: Path, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    entries = {
        "right": {"path": str(path), "sha256": digest.of_bytes(data)},
        "wrong": {"path": str(path), "sha256": "0" * 64},
    }
    lora = load(model, tmp_path, adapters=entries)
    assert lora.find("right")[0].digest == digest.of_bytes(data)
    with pytest.raises(BadAdapter, match="0000 is configured"):
        lora.find("wrong")


@pytest.mark.parametrize("expert", ["high", "low", "both"])
def test_an_expert_of_a_base_that_has_one_is_refused_and_not_ignored(lora: Loaded, expert: str) -> None:
    with pytest.raises(InvalidInput, match=r"expert: this Flux\.1 has no two experts"):
        lora.find("anime", expert=expert)


def test_a_deployment_without_any_place_for_adapters_is_misconfigured(model: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.directories: there are neither"):
        load(model, tmp_path)


def test_what_it_needs_of_the_world_is_the_bases_configuration_and_its_adapters() -> None:
    entries = {"a": {"repo": "ann/loras", "file": "a.safetensors"}, "b": {"url": "https://host/b.safetensors"}}
    weights = Lora.Weights.model_validate({"family": "flux", "model": "ann/flux", "adapters": entries})
    assert weights.sources() == (
        HubModel("ann/flux", None, is_config_only=True),
        HubFile("ann/loras", "a.safetensors"),
        WebFile("https://host/b.safetensors"),
    )


def test_pull_fetches_adapters_beforehand(
    hub: Hub, model: Path, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["ann/loras"] = Repository({"styles/anime.safetensors": data})
    hub.plain["/film.safetensors"] = data
    adapters = {
        "anime": {"repo": "ann/loras", "file": "styles/anime.safetensors"},
        "film": {"url": f"{hub.url}/film.safetensors"},
    }
    stages = {
        "adapt.lora": {"weights": {"family": "flux", "model": str(model), "adapters": adapters}},
        "generate.flux": {"weights": {"model": str(model), "variant": "dev"}},
    }
    args = {"pipelines": ["flux-lora"], "stages": stages}
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump({"applications": [{"import_path": "serve_app.app:build", "args": args}]}))
    assert main(["pull", str(profile)]) == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    lora = load(model, tmp_path, adapters=adapters)
    assert [one.name for one in lora.find("anime")] == ["anime"]
    assert [one.name for one in lora.find("film")] == ["film"]
    assert hub.asked == []
