"""Every family over Serve on tiny weights: the same bytes as in this process, and what the server says of its models.

An application of its own, which goes with this file: six generators are more than the others' tests should carry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.commands.client import Client
from serve_app.commands.local import Local
from serve_app.config import AppConfig
from tests.deployments import tiny_flux, tiny_ltx_video, tiny_mochi, tiny_qwen_image, tiny_wan, tiny_z_image
from tests.serve.conftest import READY_S, wait_until
from tests.serve.test_runs import finish

PICTURE = {"width": 32, "height": 32, "steps": 1}
FAMILIES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "flux": (tiny_flux.build, PICTURE),
    "qwen_image": (tiny_qwen_image.build, {**PICTURE, "steps": 2}),
    "z_image": (tiny_z_image.build, PICTURE),
    "wan": (tiny_wan.build, {"width": 32, "height": 32, "frames": 5, "steps": 2}),
    "ltx_video": (tiny_ltx_video.build, {"width": 64, "height": 64, "frames": 9, "steps": 2}),
    "mochi": (tiny_mochi.build, {"width": 32, "height": 32, "frames": 7, "steps": 2}),
}
INPUTS = {"prompt": "a red fox", "seed": 7}


def pipeline(family: str) -> dict[str, Any]:
    """Return a pipeline that is the generator and an encoder: what the family makes is what is compared."""
    _, params = FAMILIES[family]
    port, encoder = ("clip", "encode.video") if "frames" in params else ("image", "encode.image")
    return {
        "version": 1,
        "name": family.replace("_", "-"),
        "inputs": {"prompt": "text", "seed": "seed"},
        "nodes": {
            "draft": {"use": f"generate.{family}", "with": params, "take": {"prompt": "$prompt", "seed": "$seed"}},
            "encode": {"use": encoder, "take": {port: "draft"}},
        },
        "outputs": {"file": "encode"},
    }


@pytest.fixture(scope="module")
def families_config(tmp_path_factory: pytest.TempPathFactory) -> AppConfig:
    root = tmp_path_factory.mktemp("families")
    stages = {}
    for family, (build, _) in FAMILIES.items():
        stages[f"generate.{family}"] = {"weights": {"model": str(build(root / family))}}
        (root / f"{family}.yaml").write_text(yaml.safe_dump(pipeline(family)))
    return AppConfig.model_validate(
        {
            "pipelines": [str(root / f"{family}.yaml") for family in FAMILIES],
            "stages": stages,
            "directory": root / "home",
            "queue": {"slots": 2, "lease_s": 10},
        }
    )


@pytest.fixture(scope="module")
def families(cluster: str, families_config: AppConfig) -> Iterator[Client]:
    from ray import serve

    from serve_app.app import build

    serve.run(build(families_config), name="families", route_prefix="/families")
    with contextlib.closing(Client(f"{cluster}/families")) as client:
        wait_until(client.is_ready, READY_S)
        yield client
    serve.delete("families")


@pytest.fixture(scope="module")
def local(families_config: AppConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    directory = tmp_path_factory.mktemp("local")
    with contextlib.closing(Local(families_config.model_copy(update={"directory": directory}), {})) as made:
        yield made


@pytest.mark.parametrize("family", FAMILIES)
def test_serve_and_this_process_make_the_same_bytes(family: str, families: Client, local: Local) -> None:
    digests = []
    for followed in (families, local):
        run_id, happenings = finish(followed, family.replace("_", "-"), INPUTS, {})
        assert happenings[-1].kind == "succeeded", happenings[-1]
        digests.append(followed.report(run_id)["outputs"]["file"]["digest"])
    assert digests[0] == digests[1]


def test_the_server_lists_its_models_with_what_they_hold(families: Client) -> None:
    cards = {card["id"]: card for card in families.ask("GET", "/v1/models")["data"]}
    assert set(cards) == {f"generate.{family}" for family in FAMILIES}
    for card in cards.values():
        assert (card["state"]["word"], card["state"]["replicas"]) == ("loaded", 1)
        assert card["created"] > 1_700_000_000
        memory = card["memory"]
        assert sum(memory["dtypes"].values()) == memory["weights_bytes"] > 100_000
        assert memory["process_bytes"] > memory["weights_bytes"]
        assert (memory["device"], memory["gpu_limit_bytes"]) == ("cpu", None)


def test_one_model_is_shown_alone(families: Client) -> None:
    card = families.ask("GET", "/v1/models/generate.wan")
    assert (card["variant"], card["pipelines"]) == ("t2v-a14b", ["wan"])
