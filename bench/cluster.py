"""A throw-away Ray Serve application for benches: its own Ray, its own directory, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serve_app.commands.client import Client
from serve_app.config import AppConfig

_READY_S = 120.0


@contextlib.contextmanager
def ray_started(store_bytes: int) -> Iterator[Path]:
    """Start a Ray of its own with an object store of ``store_bytes``; yield a directory that goes with it."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve

    home = Path(tempfile.mkdtemp(prefix="gl-"))
    ray.init(
        address="local",
        num_cpus=16,
        object_store_memory=store_bytes,
        include_dashboard=False,
        _temp_dir=str(home / "ray"),
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield home
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def served(
    pipelines: list[Path | str], store_bytes: int, settings: Mapping[str, Any] | None = None
) -> Iterator[tuple[Client, AppConfig]]:
    """Serve ``pipelines`` on a Ray with an object store of ``store_bytes``; yield a client and the configuration.

    ``settings`` are more of the application's `args`.
    """
    from ray import serve

    from serve_app.app import build

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ray_started(store_bytes) as home:
        args = {"pipelines": tuple(map(str, pipelines)), "directory": home / "home", **(settings or {})}
        config = AppConfig.model_validate(args)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(config), name="greenlight", route_prefix="/")
        with contextlib.closing(Client(f"http://127.0.0.1:{port}")) as client:
            deadline = time.monotonic() + _READY_S
            while not client.is_ready():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not ready within {_READY_S:g} s")
                time.sleep(0.2)
            yield client, config
