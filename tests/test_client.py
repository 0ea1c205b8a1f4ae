"""The command line's HTTP client against a real server that goes away and comes back."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from serve_app.commands import client as module
from serve_app.commands.client import Client, Refused
from serve_app.core.errors import Unavailable, Unknown

KINDS = ["run.started", "step.started", "step.finished", "succeeded"]


def frame(number: int) -> bytes:
    data = json.dumps({"kind": KINDS[number - 1], "data": {"n": number}})
    return f": still here\n\nid: {number}\nevent: {KINDS[number - 1]}\ndata: {data}\n\n".encode()


class Server(BaseHTTPRequestHandler):
    """Sends two events and breaks off, then says 503, then sends the rest."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            self._events(int(self.headers["Last-Event-ID"]))
        elif self.path == "/healthz":
            self._answer(200, b"{}")
        elif self.path.endswith("/broken"):
            self._answer(409, b"not JSON", "text/plain")
        else:
            problem = {"title": "Not found", "detail": "there is no 'report'", "hint": "Look again."}
            self._answer(404, json.dumps(problem).encode())

    def _events(self, last: int) -> None:
        self.asked.append(self.headers["Last-Event-ID"])
        if len(self.asked) == 2:
            self._answer(503, b"nobody there", "text/plain")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"retry: 1000\n\n")
        for number in range(last + 1, 3 if last == 0 else 5):
            self.wfile.write(frame(number))

    def _answer(self, status: int, body: bytes, media_type: str = "application/problem+json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(module, "_RECONNECT_S", 0.01)
    monkeypatch.setattr(module, "_AWAY_S", 0.2)
    Server.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with contextlib.closing(Client(url)) as made:
        yield made


def test_following_goes_on_where_the_stream_broke_off(client: Client) -> None:
    assert [happening.kind for happening in client.follow("run")] == KINDS
    assert Server.asked == ["0", "2", "2"]


def test_a_server_that_stays_away_is_unavailable() -> None:
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(Client("http://127.0.0.1:9")) as client:
        patch.setattr(module, "_RECONNECT_S", 0.01)
        patch.setattr(module, "_AWAY_S", 0.1)
        with pytest.raises(Unavailable, match="the server at"):
            list(client.follow("run"))
        assert not client.is_ready()


def test_a_run_without_a_report_is_unknown(client: Client) -> None:
    with pytest.raises(Unknown, match="report"):
        client.report("run")


def test_a_file_that_is_refused_leaves_no_empty_one(client: Client, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"404: there is no 'report' \(Look again\.\)"):
        client.fetch("run", "video", tmp_path / "video.mp4")
    with pytest.raises(Refused, match="409: not JSON"):
        client.fetch("run", "broken", tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []
