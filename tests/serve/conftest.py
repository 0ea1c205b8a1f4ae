"""One Ray Serve cluster for the session, with one application that serves every test pipeline. Nothing is mocked."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.commands.client import Client
from serve_app.config import AppConfig, QueueConfig, StageConfig

PIPELINES = Path(__file__).parent / "pipelines"
PHOTO = Path(__file__).parents[2] / "serve_app" / "profiles" / "demo.jpg"
READY_S = 120.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a cluster; Ray's own warnings are its own affair."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.serve)
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"))


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def short_tmp() -> Iterator[Path]:
    """Return a directory with a short path: Ray's sockets live in it, and their names are limited to 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="gl-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(short_tmp: Path) -> Iterator[str]:
    """Start Ray and Serve with two GPUs that exist on paper only; return the URL of the proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray
        from ray import serve

        ray.init(
            address="local",
            num_cpus=64,
            num_gpus=2,
            object_store_memory=800 << 20,
            include_dashboard=False,
            _temp_dir=str(short_tmp / "ray"),
            log_to_driver=False,
            logging_level="ERROR",
        )
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="session")
def app_config(short_tmp: Path, tiny_ltx2_dir: Path) -> AppConfig:
    """Return the configuration that the application and the in-process runs share."""
    return AppConfig(
        pipelines=(*(str(path) for path in sorted(PIPELINES.glob("*.yaml"))), "ltx2-fidelity-1080p"),
        stages={"generate.ltx2": StageConfig(weights={"model": str(tiny_ltx2_dir)})},
        directory=short_tmp / "home",
        queue=QueueConfig(slots=2, lease_s=3),
    )


@pytest.fixture(scope="session")
def app(cluster: str, app_config: AppConfig) -> Iterator[str]:
    """Deploy the application; return its URL once it says that it is ready."""
    from ray import serve

    from serve_app.app import build

    serve.run(build(app_config), name="greenlight", route_prefix="/")
    with contextlib.closing(Client(cluster)) as client:
        wait_until(client.is_ready, READY_S)
    yield cluster
    serve.delete("greenlight")


@pytest.fixture
def client(app: str) -> Iterator[Client]:
    """Return a client of the application."""
    with contextlib.closing(Client(app)) as made:
        yield made


def wait_until(is_so: Any, within_s: float) -> None:
    """Return when ``is_so()``; fail after ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"not so within {within_s:g} s: {is_so}")
        time.sleep(0.1)
