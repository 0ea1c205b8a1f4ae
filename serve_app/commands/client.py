"""A client of the HTTP API: submit, follow, fetch. What `greenlight run` speaks to a server."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from serve_app.commands.followed import Followed, Happening
from serve_app.core.errors import GreenlightError, Unavailable

_PATIENCE = httpx.Timeout(30.0, read=60.0)


class Refused(GreenlightError):
    """Raised when the server answers with a problem: its ``status``, and what it says."""

    code = "refused"

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.http_status, self.detail = status, detail

    def __str__(self) -> str:
        return f"the server answered {self.http_status}: {self.detail}"


class Client(Followed):
    """Follows runs on a server at ``url``. Close it when done."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_PATIENCE)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, pipeline: str, inputs: Mapping[str, Any], policy: Mapping[str, Any]) -> str:
        """Send a run and return its id; inputs that are a Path are sent as files. Raises Refused, Unavailable."""
        files = {}
        for name, value in inputs.items():
            if isinstance(value, Path):
                media_type = mimetypes.guess_type(value.name)[0] or "application/octet-stream"
                files[f"inputs.{name}"] = (value.name, value.read_bytes(), media_type)
        values = {name: value for name, value in inputs.items() if not isinstance(value, Path)}
        body = json.dumps({"pipeline": pipeline, "inputs": values, "policy": dict(policy)})
        headers = {"Content-Type": "application/json"}
        if files:
            request = self._http.build_request("POST", "/v1/runs", data={"request": body}, files=files)
        else:
            request = self._http.build_request("POST", "/v1/runs", content=body, headers=headers)
        return str(self._ask(request).json()["id"])

    def follow(self, run_id: str) -> Iterator[Happening]:
        """Yield what happens to the run, from its first event to its last; reconnects where the stream breaks off."""
        last, is_over = 0, False
        while not is_over:
            headers = {"Last-Event-ID": str(last), "Accept": "text/event-stream"}
            try:
                with self._http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
                    if answer.status_code == httpx.codes.NO_CONTENT:
                        return
                    _check(answer)
                    for number, happening in _events(answer, last):
                        last = number
                        yield happening
                        is_over = happening.is_final
            except httpx.TransportError as error:
                if not self._is_there():
                    raise Unavailable("the server", str(error)) from error

    def cancel(self, run_id: str) -> None:
        """Ask the run to stop."""
        self._ask(self._http.build_request("POST", f"/v1/runs/{run_id}/cancel"))

    def report(self, run_id: str) -> dict[str, Any]:
        """Return the report of a run that has ended."""
        document: dict[str, Any] = self._get(f"/v1/runs/{run_id}/artifacts/report.json").json()
        return document

    def fetch(self, run_id: str, name: str, target: Path) -> None:
        """Write an artifact of the run to ``target``."""
        with self._http.stream("GET", f"/v1/runs/{run_id}/artifacts/{name}") as answer, target.open("wb") as out:
            _check(answer)
            for chunk in answer.iter_bytes(1 << 20):
                out.write(chunk)

    def is_ready(self) -> bool:
        """Whether the server is there and its runner works."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def _is_there(self) -> bool:
        try:
            return self._http.get("/healthz").is_success
        except httpx.TransportError:
            return False

    def _get(self, path: str) -> httpx.Response:
        return self._ask(self._http.build_request("GET", path))

    def _ask(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = self._http.send(request)
        except httpx.TransportError as error:
            raise Unavailable(f"the server at {self._http.base_url}", str(error)) from error
        _check(answer)
        return answer


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    answer.read()
    try:
        problem = answer.json()
    except ValueError:
        raise Refused(answer.status_code, answer.text[:300]) from None
    hint = f" ({problem['hint']})" if problem.get("hint") else ""
    raise Refused(answer.status_code, f"{problem.get('detail') or problem.get('title')}{hint}")


def _events(answer: httpx.Response, last: int) -> Iterator[tuple[int, Happening]]:
    """Parse server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            last = int(fields.get("id", last))
            event = json.loads(fields["data"])
            yield last, Happening(event["kind"], event["data"])
            fields = {}
