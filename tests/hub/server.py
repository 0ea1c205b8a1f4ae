"""A real HTTP server on this machine that speaks the part of the hub's API that we use, with faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
_LARGE = ".safetensors"


@dataclass
class Repository:
    """Files by name, and what the model card says."""

    files: dict[str, bytes]
    licence: str | None = "apache-2.0"
    commit: str = COMMIT
    token: str | None = None


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Fault:
    """What goes wrong with a path, ``times`` times: a status, or an answer that is cut or spoiled."""

    times: int = 1
    status: int | None = None
    retry_after: str | None = None
    cut_at: int | None = None
    """Bytes of the body after which the connection is dropped."""
    spoils: bool = False
    """One byte of the body is another."""


@dataclass
class Hub:
    """The server's state; tests change it while it runs."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)
    """Files at plain addresses, by path."""
    moved: dict[str, str] = field(default_factory=dict)
    """Path -> where it is now."""
    faults: dict[str, Fault] = field(default_factory=dict)
    """By the end of a path."""
    asked: list[Asked] = field(default_factory=list)
    has_tags: bool = True
    ignores_ranges: bool = False
    tag_of: Callable[[bytes], str] = lambda data: hashlib.sha256(data).hexdigest()
    gate: threading.Event | None = None
    """Where there is one, answers wait for it after their first byte."""

    def gets(self, ending: str) -> list[Asked]:
        """Return the GET requests for a path."""
        return [each for each in self.asked if each.method == "GET" and each.path.endswith(ending)]


def from_directory(directory: Path) -> dict[str, bytes]:
    """Return every file under ``directory`` by its name there."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve on a free port until the end of the block."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up: some of them are to."""


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.state.asked.append(Asked(self.command, path, headers.get("Range"), headers.get("Authorization")))
        fault = next((f for end, f in self.state.faults.items() if path.endswith(end) and f.times > 0), None)
        if fault and with_body:
            fault.times -= 1
        if fault and fault.status:
            self._send(fault.status, b"", {"Retry-After": fault.retry_after} if fault.retry_after else {}, with_body)
            return
        if path in self.state.moved:
            self._send(302, b"", {"Location": self.state.moved[path]}, with_body)
            return
        found = self._find(path)
        if isinstance(found, int):
            self._send(found, b"", {}, with_body)
            return
        data, more = found
        self._send_file(data, more, fault if with_body else None, with_body)

    def _find(self, path: str) -> tuple[bytes, dict[str, str]] | int:
        if path in self.state.plain:
            return self.state.plain[path], {}
        for name, repository in self.state.repositories.items():
            if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
                if f"/{name}/" in f"{path}/":
                    return 401
                continue
            if path.startswith(f"/api/models/{name}/revision/"):
                revision = path.rpartition("/")[2]
                return self._listing(name, repository) if revision in ("main", repository.commit) else 404
            for revision in ("main", repository.commit):
                prefix = f"/{name}/resolve/{revision}/"
                if path.startswith(prefix) and path.removeprefix(prefix) in repository.files:
                    return repository.files[path.removeprefix(prefix)], {"X-Repo-Commit": repository.commit}
        return 404

    def _listing(self, name: str, repository: Repository) -> tuple[bytes, dict[str, str]]:
        siblings = []
        for file, data in repository.files.items():
            entry: dict[str, Any] = {"rfilename": file, "size": len(data), "blobId": git_sha1(data)}
            if file.endswith(_LARGE):
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        card = {"license": repository.licence} if repository.licence else {}
        document = {"id": name, "sha": repository.commit, "siblings": siblings, "cardData": card, "tags": []}
        return json.dumps(document).encode(), {"Content-Type": "application/json"}

    def _send_file(self, data: bytes, more: dict[str, str], fault: Fault | None, with_body: bool) -> None:
        tag = f'"{self.state.tag_of(data)}"'
        headers = {**more, "Accept-Ranges": "bytes", **({"ETag": tag} if self.state.has_tags else {})}
        asked = self.headers.get("Range")
        is_same = self.headers.get("If-Range") in (None, tag)
        if asked and is_same and not self.state.ignores_ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self._send(416, b"", {}, with_body)
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206, data[start:], headers, with_body, fault)
        else:
            self._send(200, data, headers, with_body, fault)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], with_body: bool, fault: Fault | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body:
            return
        if fault and fault.spoils:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if self.state.gate and body:
            self.wfile.write(body[:1])
            self.wfile.flush()
            self.state.gate.wait(10)
            body = body[1:]
        if fault and fault.cut_at is not None:
            self.wfile.write(body[: fault.cut_at])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(body)
