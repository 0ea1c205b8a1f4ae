"""What the service says of the deployed models, with what Serve and the replicas would tell it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve_app.config import AppConfig, plans_of
from serve_app.http.app import make_api
from serve_app.serving.memory import memory_of
from serve_app.serving.models import Ask, Look, Roll, Standing, nobody_answers, nothing_stands, state_of
from serve_app.serving.service import RunService
from serve_app.serving.stores import open_artifacts, open_store
from tests.serving.test_endpoints import configured

DETAILS = {"status": "HEALTHY", "message": "", "target_num_replicas": 1, "replicas": [{"state": "RUNNING"}]}
MEMORY = {"weights_bytes": 64, "dtypes": {"bfloat16": 64}, "device": "cpu", "process_bytes": 1000}


def client_of(config: AppConfig, look: Look = nothing_stands, ask: Ask = nobody_answers) -> TestClient:
    plans = plans_of(config)
    roll = Roll(config, plans, look, ask)
    return TestClient(make_api(RunService(open_store(config), open_artifacts(config), plans, config, roll=roll)))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    async def ask(name: str) -> dict[str, Any]:
        if name == "generate.wan":
            await asyncio.sleep(60)
        return {"pid": 1, "memory": MEMORY}

    standing = Standing({"generate.flux": DETAILS, "generate.wan": DETAILS}, deployed_s=1_700_000_000.5)
    return client_of(configured(tmp_path_factory.mktemp("models")), lambda: standing, ask)


@pytest.fixture(scope="module")
def cards(client: TestClient) -> dict[str, dict[str, Any]]:
    said = client.get("/v1/models").json()
    assert said["object"] == "list"
    return {card["id"]: card for card in said["data"]}


def test_every_model_is_listed_as_openais_clients_read_it(cards: dict[str, dict[str, Any]]) -> None:
    assert sorted(cards) == [f"generate.{name}" for name in ("flux", "qwen_image", "remote", "wan", "z_image")]
    assert {card["object"] for card in cards.values()} == {"model"}
    assert {type(card["created"]) for card in cards.values()} == {int}
    assert cards["generate.flux"]["created"] == 1_700_000_000


def test_a_card_says_what_is_deployed_and_who_uses_it(cards: dict[str, dict[str, Any]]) -> None:
    card = cards["generate.wan"]
    facts = {name: card[name] for name in ("family", "model", "variant", "owned_by", "pipelines")}
    assert facts == {
        "family": "generate.wan",
        "model": "/wan",
        "variant": "i2v-a14b",
        "owned_by": "local",
        "pipelines": ["wan-video"],
    }


def test_a_card_has_the_params_with_defaults_limits_and_where_they_go(cards: dict[str, dict[str, Any]]) -> None:
    params = cards["generate.z_image"]["params"]
    assert (params["width"]["default"], params["width"]["minimum"], params["width"]["maximum"]) == (1024, 16, 4096)
    assert (params["steps"]["type"], params["steps"]["default"]) == ("integer", None)
    assert params["guidance"]["goes_to"].startswith("guidance_scale, less 1")
    assert params["preset"]["enum"] == ["simple", "danrisi"]


def test_a_card_has_the_options_in_effect_the_defaults_too(cards: dict[str, dict[str, Any]]) -> None:
    held = cards["generate.flux"]["weights"]
    assert (held["dtype"], held["offload"], held["vae_tiling"], held["variant"]) == ("auto", "none", False, "dev")


def test_a_remote_model_is_owned_by_its_server(cards: dict[str, dict[str, Any]]) -> None:
    card = cards["generate.remote"]
    assert card["weights"]["url"] == "https://clips.example/v1"
    assert (card["owned_by"], card["model"]) == ("clips.example", "wan2.6")


def test_memory_comes_from_the_replica_and_one_that_is_busy_holds_nobody_up(cards: dict[str, dict[str, Any]]) -> None:
    assert cards["generate.flux"]["memory"]["weights_bytes"] == 64
    assert cards["generate.wan"]["state"]["word"] == "loaded"
    assert cards["generate.wan"]["memory"] is None
    assert cards["generate.z_image"]["memory"] is None


def test_one_model_is_found_by_its_name_and_another_is_not(client: TestClient) -> None:
    assert client.get("/v1/models/generate.flux").json()["id"] == "generate.flux"
    answer = client.get("/v1/models/generate.fluks")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "generate.flux" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("details", "word", "replicas"),
    [
        (None, "unknown", None),
        ({}, "loaded", 1),
        ({"replicas": [{"state": "STARTING"}]}, "starting", 0),
        ({"replicas": [{"state": "RUNNING"}, {"state": "RUNNING"}, {"state": "STARTING"}]}, "loaded", 2),
        ({"replicas": [], "status": "UPDATING"}, "starting", 0),
        ({"replicas": [], "target_num_replicas": 0}, "idle", 0),
        ({"replicas": [{"state": "STOPPING"}], "target_num_replicas": 0}, "idle", 0),
        ({"replicas": [], "status": "DEPLOY_FAILED", "message": "no such directory"}, "failed", 0),
        ({"status": "UNHEALTHY"}, "failed", 1),
    ],
)
def test_the_state_is_what_serve_says(details: dict[str, Any] | None, word: str, replicas: int | None) -> None:
    said = state_of(None if details is None else {**DETAILS, **details})
    assert (said["word"], said["replicas"]) == (word, replicas)


def test_a_hub_id_tells_the_owner_and_a_stage_without_weights_is_ours(tmp_path: Path) -> None:
    config = AppConfig.model_validate(
        {
            "pipelines": ["ltx-video-fidelity-1080p", "animatic-fidelity"],
            "stages": {"generate.ltx_video": {"weights": {"model": "Lightricks/LTX-Video"}}},
            "directory": tmp_path,
        }
    )
    cards = {card["id"]: card for card in client_of(config).get("/v1/models").json()["data"]}
    assert cards["generate.ltx_video"]["owned_by"] == "Lightricks"
    assert cards["generate.animatic"]["owned_by"] == "greenlight"
    assert cards["generate.animatic"]["state"] == {"word": "unknown", "replicas": None, "reason": None}


def test_a_replica_counts_its_weights_and_its_process() -> None:
    import torch

    stage = torch.nn.Linear(4, 4, bias=False)
    said = memory_of(stage, "cpu", 0.0)
    assert (said["weights_bytes"], said["dtypes"]) == (64, {"float32": 64})
    assert said["process_bytes"] is None or said["process_bytes"] > 1 << 20
