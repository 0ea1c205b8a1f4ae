"""Chunks or whole clips, stages apart or together in one replica: the same pipeline file, and what stays the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve_app.commands.client import Client
from serve_app.config import AppConfig, QueueConfig
from tests.serve.conftest import PHOTO, PIPELINES, READY_S, wait_until
from tests.serve.processes import replicas

INPUTS = {"prompt": "pan left", "image": PHOTO, "seed": 5, "frames": 24}


def finished(client: Client) -> dict[str, Any]:
    """Carry a run out and return its report."""
    run_id = client.submit("long", INPUTS, {})
    assert list(client.follow(run_id))[-1].kind == "succeeded"
    return client.report(run_id)


@contextlib.contextmanager
def deployed(url: str, name: str, home: Path, **settings: Any) -> Iterator[Client]:
    """Deploy one more application beside the session's."""
    from ray import serve

    from serve_app.app import build

    args = {
        "pipelines": (str(PIPELINES / "long.yaml"),),
        "directory": home,
        "queue": QueueConfig(lease_s=3),
        **settings,
    }
    serve.run(build(AppConfig.model_validate(args)), name=name, route_prefix=f"/{name}")
    try:
        with contextlib.closing(Client(f"{url}/{name}")) as client:
            wait_until(client.is_ready, READY_S)
            yield client
    finally:
        serve.delete(name)


def test_colocated_stages_are_one_replica_and_make_the_same_bytes(
    client: Client, cluster: str, short_tmp: Path
) -> None:
    apart = finished(client)
    group = ["generate.animatic", "judge.fidelity", "upscale.edsr"]
    with deployed(cluster, "together", short_tmp / "together", colocate=[group]) as colocated:
        together = finished(colocated)
        assert len(replicas("generate.animatic", "together")) == 1
        assert replicas("upscale.edsr", "together") == []
    assert together["outputs"]["video"]["digest"] == apart["outputs"]["video"]["digest"]
    assert together["scores"] == apart["scores"]


def test_whole_clips_give_the_same_score_and_the_same_frames(client: Client, cluster: str, short_tmp: Path) -> None:
    chunks = finished(client)
    with deployed(cluster, "whole", short_tmp / "whole", streaming={"chunk_frames": None}) as unchunked:
        whole = finished(unchunked)
    assert whole["scores"] == chunks["scores"]
    same = ("frames", "width", "height", "fps", "duration_s")
    facts = [report["outputs"]["video"]["facts"] for report in (whole, chunks)]
    assert {name: facts[0][name] for name in same} == {name: facts[1][name] for name in same}
    counts = [{step["node"]: step["chunks"] for step in report["attempts"][0]["steps"]} for report in (whole, chunks)]
    assert set(counts[0].values()) == {0}
    assert counts[1] == {"draft": 2, "judge": 2, "gate": 2, "upscale": 2, "encode": 2}
