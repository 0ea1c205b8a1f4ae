"""A client of the HTTP API: submit, follow, fetch. What `greenlight run` speaks to a server."""

from __future__ import annotations

import json
import mimetypes
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from serve_app.commands.followed import Followed, Happening
from serve_app.core.errors import GreenlightError, Unavailable, Unknown

_PATIENCE = httpx.Timeout(30.0, read=60.0)
_AWAY_S = 60.0
"""A server that is silent for longer is not restarting: Serve's own proxy is back after 30 s at most."""
_RECONNECT_S = 1.0
_PASSING = (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)
_CHUNK_BYTES = 1 << 20


class Refused(GreenlightError):
    """Raised when the server answers with a problem: its ``status``, and what it says."""

    code = "refused"

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.http_status, self.detail = status, detail

    def __str__(self) -> str:
        return f"the server answered {self.http_status}: {self.detail}"


class Away(Unavailable):
    """Raised when nobody answers at the server's address: `what` and `detail`."""

    code, hint = "away", "Start a server (`make serve`), say where it is (--url), or do without one (--local)."


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
        """Yield what happens to the run, from its first event to its last; reconnects where the stream breaks off.

        Raises Refused, and Unavailable when the server stays away for longer than a restart takes.
        """
        last = 0
        while True:
            try:
                for number, happening in self._stream(run_id, last):
                    last = number
                    yield happening
                    if happening.is_final:
                        return
            except (httpx.TransportError, Unavailable) as error:
                self._wait_until_back(error)
            time.sleep(_RECONNECT_S)

    def _wait_until_back(self, error: Exception) -> None:
        deadline = time.monotonic() + _AWAY_S
        while not self._is_there():
            if time.monotonic() > deadline:
                raise self._away(error) from error
            time.sleep(_RECONNECT_S)

    def _stream(self, run_id: str, last: int) -> Iterator[tuple[int, Happening]]:
        headers = {"Last-Event-ID": str(last), "Accept": "text/event-stream"}
        with self._http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
            _check(answer)
            yield from _events(answer)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the server answers; raise Refused, Unavailable."""
        return self._ask(self._http.build_request(method, path, json=body)).json()

    def cancel(self, run_id: str) -> None:
        """Ask the run to stop."""
        self._ask(self._http.build_request("POST", f"/v1/runs/{run_id}/cancel"))

    def report(self, run_id: str) -> dict[str, Any]:
        """Return the report of a run that has ended; raise Unknown when it left none."""
        request = self._http.build_request("GET", f"/v1/runs/{run_id}/artifacts/report.json")
        try:
            document: dict[str, Any] = self._ask(request).json()
        except Refused as error:
            if error.http_status == httpx.codes.NOT_FOUND:
                raise Unknown("report", run_id) from error
            raise
        return document

    def fetch(self, run_id: str, name: str, target: Path) -> None:
        """Write an artifact of the run to ``target``."""
        try:
            with self._http.stream("GET", f"/v1/runs/{run_id}/artifacts/{name}") as answer:
                _check(answer)
                with target.open("wb") as out:
                    out.writelines(answer.iter_bytes(_CHUNK_BYTES))
        except httpx.TransportError as error:
            raise self._away(error) from error

    def pipelines(self) -> list[dict[str, Any]]:
        """Return what is served, as GET /v1/pipelines describes it. Raises Refused, Unavailable."""
        found: list[dict[str, Any]] = self._ask(self._http.build_request("GET", "/v1/pipelines")).json()["pipelines"]
        return found

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

    def _ask(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = self._http.send(request)
        except httpx.TransportError as error:
            raise self._away(error) from error
        _check(answer)
        return answer

    def _away(self, error: Exception) -> Away:
        return Away(f"the server at {self._http.base_url}", str(error))


def _check(answer: httpx.Response) -> None:
    """Raise Refused with what the answer says, or Unavailable where it says that somebody is missing for the moment."""
    if answer.is_success:
        return
    answer.read()
    try:
        problem = answer.json()
    except ValueError:
        detail = answer.text[:300]
    else:
        hint = f" ({problem['hint']})" if problem.get("hint") else ""
        detail = f"{problem.get('detail') or problem.get('title')}{hint}"
    if answer.status_code in _PASSING:
        raise Unavailable("the server", f"it answered {answer.status_code}: {detail}")
    raise Refused(answer.status_code, detail)


def _events(answer: httpx.Response) -> Iterator[tuple[int, Happening]]:
    """Yield (number, event) from server-sent events as our server writes them: one `id` and one `data` line each.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:  # a comment has no name before its colon
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            event = json.loads(fields["data"])
            yield int(fields["id"]), Happening(event["kind"], event["data"])
        fields = {}
