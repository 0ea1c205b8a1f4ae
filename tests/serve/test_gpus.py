"""The gpu profile on two GPUs that exist on paper: its shares pack on one, and load brings a second generator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.commands.client import Client
from serve_app.commands.profile import PROFILES
from serve_app.graph.spec import read_yaml
from tests.serve.conftest import PHOTO, PIPELINES, READY_S, wait_until

APP = "gpu"
TWO_MINUTES_S = 120.0


@pytest.fixture
def gpu_app(cluster: str, tiny_ltx2_dir: Path, tmp_path: Path) -> Iterator[Client]:
    """Deploy the gpu profile as it is shipped, but for weights, places and patience; return a client of it."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    document = read_yaml(PROFILES / "gpu.yaml")
    (application,) = document["applications"]
    application |= {"name": APP, "route_prefix": f"/{APP}"}
    application["args"] = {
        "pipelines": [str(PIPELINES / "noise.yaml")],
        "directory": str(tmp_path),
        "stages": {"generate.ltx2": {"weights": {"model": str(tiny_ltx2_dir)}}},
        "queue": {"slots": 4},
    }
    application["deployments"] = [each for each in application["deployments"] if each["name"] != "adapt.lora"]
    for deployment in application["deployments"]:
        deployment.get("autoscaling_config", {}).update(upscale_delay_s=1)
        deployment.pop("num_replicas", None)
    schema = ServeDeploySchema(applications=[application])
    _get_global_client().deploy_apps(schema, _blocking=True)
    with contextlib.closing(Client(f"{cluster}/{APP}")) as client:
        wait_until(client.is_ready, READY_S)
        yield client
    serve.delete(APP)


def held(deployment: str) -> list[dict[str, Any]]:
    """Return what each replica of a deployment holds."""
    from ray import serve

    handle = serve.get_deployment_handle(deployment, app_name=APP)
    facts: list[dict[str, Any]] = list(handle.broadcast("facts").results(timeout_s=30))
    return facts


@pytest.mark.slow
@pytest.mark.usefixtures("app")
def test_the_shares_pack_on_one_gpu_and_load_brings_a_second_generator(gpu_app: Client) -> None:
    warm = gpu_app.submit("noise", {"prompt": "a fox", "image": PHOTO, "seed": 1, "on_fail": "warn"}, {"attempts": 1})
    assert list(gpu_app.follow(warm))[-1].kind == "succeeded", "from zero replicas to a file"
    names = ("generate.ltx2", "judge.fidelity", "upscale.edsr")
    replicas = {name: held(name) for name in names}
    assert {name: facts[0]["gpus"] for name, facts in replicas.items()} == dict(
        zip(names, (0.6, 0.1, 0.25), strict=True)
    )
    assert len({tuple(facts[0]["gpu_ids"]) for facts in replicas.values()}) == 1, "all on one GPU"

    inputs = {"prompt": "a fox", "image": PHOTO, "frames": 121}
    busy = [gpu_app.submit("noise", {**inputs, "seed": seed}, {"attempts": 20}) for seed in range(3)]
    wait_until(lambda: len(held("generate.ltx2")) >= 2, TWO_MINUTES_S)
    ids = [tuple(facts["gpu_ids"]) for facts in held("generate.ltx2")]
    assert len(set(ids)) == len(ids) == 2, "two generators never share a GPU"
    for run_id in busy:
        gpu_app.cancel(run_id)
    for run_id in busy:
        assert list(gpu_app.follow(run_id))[-1].kind in ("cancelled", "rejected")
