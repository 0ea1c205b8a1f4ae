"""A small server that speaks `/v1/videos` and `/v1/images/generations`, with the habits that a test gives it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Habits:
    """``answers``: statuses of the first POSTs (0: the job is taken, and the line goes dead).

    ``elsewhere``: where files are said to lie. ``is_mute``: every GET is answered with 502.
    """

    content: bytes = b""
    answers: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=lambda: ["queued", "in_progress", "completed"])
    is_endless: bool = False
    has_cancel: bool = True
    is_idempotent: bool = False
    as_url: bool = False
    elsewhere: str | None = None
    is_mute: bool = False
    poll_after_ms: int | None = None


@dataclass
class Studio:
    """The server: where it is, what it was asked, and which jobs it took."""

    url: str
    habits: Habits
    jobs: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    secrets: list[str | None] = field(default_factory=list)
    gets: list[str | None] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    looks: int = 0

    def take(self, key: str | None) -> str:
        """Return the job of a request; of a repeated one, in a server that is idempotent, the first."""
        if self.habits.is_idempotent and key is not None and key in self.keys[:-1]:
            return self.jobs[0]
        self.jobs.append(f"video_{len(self.jobs)}")
        return self.jobs[-1]


@contextmanager
def studio(habits: Habits) -> Iterator[Studio]:
    """Serve on a free port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    state = Studio(f"http://127.0.0.1:{server.server_port}/v1", habits)
    server.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def state(self) -> Studio:
        return self.server.state  # type: ignore[attr-defined, no-any-return]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        state, data = self.state, self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.endswith("/cancel"):
            return self._stop(state.habits.has_cancel)
        state.secrets.append(self.headers.get("authorization"))
        state.keys.append(self.headers.get("idempotency-key"))
        self._note_body(data)
        status = state.habits.answers.pop(0) if state.habits.answers else 200
        if status not in (0, 200):
            error = {"message": "steps must be at most 50", "param": "num_inference_steps"}
            return self._say(status, {"error": error}, {"retry-after": "0"})
        job = state.take(state.keys[-1])
        if status == 0:
            self.close_connection = True
            return None
        if self.path == "/v1/images/generations":
            one = {"b64_json": base64.b64encode(state.habits.content).decode()}
            if state.habits.as_url:
                one = {"url": f"{state.habits.elsewhere or state.url}/files/{job}"}
            return self._say(200, {"created": 1, "data": [one]})
        return self._say(200, {"id": job, "object": "video", "status": "queued", "progress": 0})

    def do_GET(self) -> None:
        state = self.state
        name = self.path.removeprefix("/v1/videos/")
        state.gets.append(self.headers.get("authorization"))
        if state.habits.is_mute:
            return self._say(502, {})
        if self.path.startswith("/v1/files/") or name.endswith("/content"):
            return self._send(200, "video/mp4", state.habits.content)
        if name not in state.jobs:
            return self._say(404, {"error": {"message": "no such video"}})
        at = min(state.looks, len(state.habits.states) - 1)
        status = "in_progress" if state.habits.is_endless else state.habits.states[at]
        state.looks += 1
        view = {"id": name, "status": status, "progress": min(100, 40 * state.looks), "model": "far-away-1"}
        if status == "failed":
            view["error"] = {"code": "moderation", "message": "not this one"}
        wait = state.habits.poll_after_ms
        return self._say(200, view, {} if wait is None else {"openai-poll-after-ms": str(wait)})

    def do_DELETE(self) -> None:
        self._stop(True)

    def _stop(self, is_known: bool) -> None:
        if is_known:
            self.state.stopped.append(f"{self.command} {self.path}")
        self._say(200 if is_known else 404, {})

    def _note_body(self, data: bytes) -> None:
        kind = self.headers.get("content-type", "")
        if kind.startswith("application/json"):
            self.state.bodies.append(json.loads(data))
            return
        head = Message()
        head["content-type"] = kind
        boundary = str(head.get_param("boundary")).encode()
        fields = {}
        for part in data.split(b"--" + boundary)[1:-1]:
            about, _, value = part.partition(b"\r\n\r\n")
            name = about.split(b'name="')[1].split(b'"')[0].decode()
            if b"filename=" in about:
                self.state.files.append(name)
            else:
                fields[name] = value.removesuffix(b"\r\n").decode()
        self.state.bodies.append(fields)

    def _say(self, status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(document).encode(), headers)

    def _send(self, status: int, kind: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
