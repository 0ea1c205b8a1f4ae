"""A throw-away Ray Serve application for benches: its own Ray, its own directory, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from serve_app.commands.client import Client
from serve_app.config import AppConfig

_READY_S = 120.0


@contextlib.contextmanager
def served(pipelines: list[Path | str], store_bytes: int) -> Iterator[tuple[Client, AppConfig]]:
    """Serve ``pipelines`` on a Ray with an object store of ``store_bytes``; yield a client and the configuration."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve

    from serve_app.app import build

    home = Path(tempfile.mkdtemp(prefix="gl-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray.init(
        address="local",
        num_cpus=16,
        object_store_memory=store_bytes,
        include_dashboard=False,
        _temp_dir=str(home / "ray"),
        log_to_driver=False,
        logging_level="ERROR",
    )
    config = AppConfig(pipelines=tuple(map(str, pipelines)), directory=home / "home")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(config), name="greenlight", route_prefix="/")
        with contextlib.closing(Client(f"http://127.0.0.1:{port}")) as client:
            deadline = time.monotonic() + _READY_S
            while not client.is_ready():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not ready within {_READY_S:g} s")
                time.sleep(0.2)
            yield client, config
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(home, ignore_errors=True)
