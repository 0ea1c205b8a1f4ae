"""Killing things for real, with kill -9, in the middle of a run. Nothing that was recorded may be lost."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from serve_app.commands.client import Client
from tests.serve.conftest import PHOTO, PIPELINES, READY_S, free_port, wait_until
from tests.serve.processes import kill_replicas, kill_tree

LONG = {"prompt": "sway", "image": PHOTO, "seed": 1}


def test_a_run_survives_the_death_of_a_replica_at_work(client: Client) -> None:
    run_id = client.submit("long", {**LONG, "frames": 120}, {})
    kinds = []
    for happening in client.follow(run_id):
        if happening.kind == "step.progress" and happening.data["node"] == "upscale" and "killed" not in kinds:
            kill_replicas("upscale.edsr")
            kinds.append("killed")
        kinds.append(happening.kind)
    assert "killed" in kinds
    assert "step.retried" in kinds
    assert kinds[-1] == "succeeded"


def test_a_run_survives_the_death_of_its_runner(client: Client) -> None:
    run_id = client.submit("long", {**LONG, "frames": 120}, {})
    kinds: list[str] = []
    for happening in client.follow(run_id):
        if happening.kind == "step.progress" and "killed" not in kinds:
            kill_replicas("runner")
            kinds.append("killed")
        kinds.append(happening.kind)
    assert kinds.count("run.started") == 2, "another runner took it over"
    assert kinds[-1] == "succeeded"


@contextlib.contextmanager
def served(profile: Path, log: Path) -> Iterator[psutil.Process]:
    """Run `serve run` in a process of its own, with a Ray of its own."""
    command = [str(Path(sys.executable).parent / "serve"), "run", "--address", "local", str(profile)]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        yield psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            kill_tree(psutil.Process(process.pid))
        process.wait()


@pytest.mark.slow
def test_a_run_survives_the_death_of_everything(short_tmp: Path, tmp_path: Path) -> None:
    port = free_port()
    profile = tmp_path / "profile.yaml"
    args = {"pipelines": [str(PIPELINES / "long.yaml")], "directory": str(tmp_path / "home"), "queue": {"lease_s": 3}}
    small = {"ray_actor_options": {"num_cpus": 0.1}}
    names = ["ingress", "runner", "generate.animatic", "judge.fidelity", "gate.verdict", "upscale.edsr", "encode.video"]
    application = {
        "name": "greenlight",
        "import_path": "serve_app.app:build",
        "args": args,
        "deployments": [{"name": name, **small} for name in names],
    }
    document = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    profile.write_text(yaml.safe_dump(document))
    with contextlib.closing(Client(f"http://127.0.0.1:{port}")) as client:
        with served(profile, tmp_path / "first.log") as process:
            wait_until(client.is_ready, READY_S)
            run_id = client.submit("long", {**LONG, "frames": 120}, {})
            for happening in client.follow(run_id):
                if happening.kind == "step.progress":
                    break
            kill_tree(process)
        assert not client.is_ready()
        with served(profile, tmp_path / "second.log"):
            wait_until(client.is_ready, READY_S)
            kinds = [happening.kind for happening in client.follow(run_id)]
            assert kinds.count("run.started") == 2
            assert kinds[-1] == "succeeded"
            assert client.report(run_id)["outputs"]["video"]["media_type"] == "video/mp4"
