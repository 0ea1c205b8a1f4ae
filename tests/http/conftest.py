from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from serve_app.http.app import make_api
from serve_app.http.service import Limits
from tests.http.desk_service import DeskService

LIMITS = Limits(
    body_bytes=100_000,
    upload_bytes=50_000,
    text_bytes=1_000,
    parts=8,
    json_commas=2_000,
    wait_s=2.0,
    poll_s=0.01,
    slowest_poll_s=0.05,
    heartbeat_s=0.2,
)


@pytest.fixture
def desk(tmp_path: Path) -> DeskService:
    return DeskService(tmp_path, LIMITS)


@pytest.fixture
def api(desk: DeskService) -> FastAPI:
    return make_api(desk)


@pytest.fixture
def client(api: FastAPI) -> TestClient:
    # The server answers an unforeseen error and then raises it for its own log; a caller sees the answer alone.
    return TestClient(api, raise_server_exceptions=False)


@dataclass(frozen=True)
class Live:
    """A uvicorn server on a free port of this machine."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def live(api: FastAPI) -> Iterator[Live]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(api, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Live(listener.getsockname()[1])
        server.should_exit = True
        thread.join(10)
