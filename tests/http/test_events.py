"""A run's events as a stream, from a real server."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Message

from serve_app.http.app import make_api
from serve_app.http.events import BATCH, frame
from serve_app.http.service import Events
from serve_app.runs.model import Event, RunState
from tests.http.conftest import LIMITS, Live
from tests.http.desk_service import DeskService
from tests.http.test_runs import BODY

ADDRESS = "/v1/runs/mine/events"


@pytest.fixture(autouse=True)
def submitted(client: TestClient) -> None:
    client.put("/v1/runs/mine", json=BODY)


def parse(text: str) -> list[dict[str, Any]]:
    """Read a stream as the standard has it: frames end with an empty line, comments start with a colon."""
    frames = [block.splitlines() for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in lines) for lines in frames if not lines[0].startswith("retry")]


def ids(answer: httpx2.Response) -> list[int]:
    return [int(event["id"]) for event in parse(answer.text)]


def test_what_happened_is_replayed_and_the_stream_ends_after_the_final_event(live: Live, desk: DeskService) -> None:
    desk.begin("mine")
    desk.say("mine", "step", {"done": 1, "of": 4})
    desk.end("mine", RunState.SUCCEEDED)
    answer = httpx2.get(live.url + ADDRESS)
    events = parse(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: 1000\n\n")
    assert [event["event"] for event in events] == ["queued", "running", "step", "succeeded"]
    assert ids(answer) == [1, 2, 3, 4]
    assert json.loads(events[2]["data"])["data"] == {"done": 1, "of": 4}


def test_events_arrive_while_the_run_goes_on(live: Live, desk: DeskService) -> None:
    seen: list[str] = []
    with httpx2.stream("GET", live.url + ADDRESS) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
                {"queued": lambda: desk.begin("mine"), "running": lambda: desk.end("mine", RunState.FAILED)}.get(
                    seen[-1], lambda: None
                )()
    assert seen == ["queued", "running", "failed"]


def test_a_reconnecting_client_gets_only_what_it_missed(live: Live, desk: DeskService) -> None:
    desk.begin("mine")
    desk.end("mine", RunState.SUCCEEDED)
    assert ids(httpx2.get(live.url + ADDRESS, headers={"Last-Event-ID": "1"})) == [2, 3]
    assert ids(httpx2.get(live.url + ADDRESS, params={"after": 2})) == [3]


def test_the_header_of_a_reconnection_goes_before_the_query_it_repeats(live: Live, desk: DeskService) -> None:
    desk.begin("mine")
    desk.end("mine", RunState.SUCCEEDED)
    answer = httpx2.get(live.url + ADDRESS, params={"after": 0}, headers={"Last-Event-ID": "2"})
    assert ids(answer) == [3]


def test_a_client_that_has_everything_is_told_to_stop_reconnecting(client: TestClient, desk: DeskService) -> None:
    desk.end("mine", RunState.SUCCEEDED)
    assert client.get(ADDRESS, headers={"Last-Event-ID": "2"}).status_code == 204


def test_a_stream_asked_for_beyond_the_end_is_empty(client: TestClient, desk: DeskService) -> None:
    desk.end("mine", RunState.SUCCEEDED)
    assert ids(client.get(ADDRESS, params={"after": 9})) == []


def test_more_events_than_one_batch_all_arrive(live: Live, desk: DeskService) -> None:
    for done in range(2 * BATCH):
        desk.say("mine", "step", {"done": done})
    desk.end("mine", RunState.SUCCEEDED)
    before = desk.looks
    assert ids(httpx2.get(live.url + ADDRESS)) == list(range(1, 2 * BATCH + 3))
    assert (
        desk.looks - before == 5
    )  # one look at the run, three batches, one more look: full batches are not waited for


class LateNews(DeskService):
    """A run that ends between a look at its events and a look at its state."""

    async def events(self, run_id: str, after: int, limit: int) -> Events:
        batch = await super().events(run_id, after, limit)
        if not self.runs[run_id].state.is_final:
            self.end(run_id, RunState.SUCCEEDED)
        return batch


def test_a_run_that_ends_between_two_looks_still_shows_its_final_event(tmp_path: Path) -> None:
    client = TestClient(make_api(LateNews(tmp_path, LIMITS)))
    client.put("/v1/runs/mine", json=BODY)
    assert [event["event"] for event in parse(client.get(ADDRESS).text)] == ["queued", "succeeded"]


def test_silence_is_filled_with_comments(live: Live, desk: DeskService) -> None:
    began = time.monotonic()
    heard = 0
    with httpx2.stream("GET", live.url + ADDRESS) as answer:
        for line in answer.iter_lines():
            heard += line == ": still here"
            if heard == 2:
                desk.end("mine", RunState.SUCCEEDED)
                break
    assert heard == 2
    assert time.monotonic() - began >= 2 * LIMITS.heartbeat_s


@pytest.mark.parametrize(
    ("query", "header"), [("after=-1", None), ("after=x", None), ("after=99999999999999999999", None), ("", "abc")]
)
def test_a_position_that_is_none_is_refused(client: TestClient, query: str, header: str | None) -> None:
    headers = {} if header is None else {"Last-Event-ID": header}
    answer = client.get(f"{ADDRESS}?{query}", headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "after" if header is None else "Last-Event-ID")


def test_the_events_of_an_unknown_run_are_not_found(client: TestClient) -> None:
    answer = client.get("/v1/runs/nobody/events")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_kind_with_a_line_break_cannot_end_its_frame() -> None:
    assert frame(Event("mine", 1, 0.0, "a\n\nid: 9", {"text": "x\ny"})).count("\n") == 4


@pytest.mark.parametrize(
    "request_lines",
    [
        [f"GET {ADDRESS} HTTP/1.1", "Host: x"],
        ["PUT /v1/runs/mine HTTP/1.1", "Host: x", "Prefer: wait=60", "Content-Type: application/json"],
    ],
    ids=["events", "wait"],
)
def test_nobody_watches_a_run_for_a_client_that_has_gone(
    live: Live, desk: DeskService, request_lines: list[str]
) -> None:
    body = json.dumps(BODY) if request_lines[0].startswith("PUT") else ""
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall("\r\n".join([*request_lines, f"Content-Length: {len(body)}", "", body]).encode())
        before = desk.looks
        wait_until(lambda: desk.looks >= before + 3)
    time.sleep(0.2)
    after = desk.looks
    time.sleep(0.3)
    assert desk.looks == after


async def _leave(api: FastAPI, spec_version: str) -> None:
    """Ask for the events as a server of that ASGI version does, and leave once the first frame is there."""
    has_left = anyio.Event()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "method": "GET",
        "path": ADDRESS,
        "raw_path": ADDRESS.encode(),
        "query_string": b"",
        "headers": [],
        "root_path": "",
        "scheme": "http",
    }

    async def receive() -> Message:
        if not has_left.is_set():
            await has_left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            has_left.set()

    with anyio.fail_after(2):
        await api(scope, receive, send)


@pytest.mark.parametrize(
    "spec_version", ["2.3", "2.4"]
)  # from 2.4 on Starlette no longer looks for a disconnect itself
def test_a_stream_ends_when_its_client_leaves_whatever_the_server(api: FastAPI, spec_version: str) -> None:
    anyio.run(_leave, api, spec_version)


def test_a_client_that_leaves_in_its_upload_is_no_incident(
    live: Live, desk: DeskService, caplog: pytest.LogCaptureFixture
) -> None:
    head = "POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(head.encode())
        time.sleep(0.1)
    time.sleep(0.2)
    assert httpx2.get(f"{live.url}/healthz").status_code == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def wait_until(is_so: Any, timeout_s: float = 5.0) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, "it never came to pass"
        time.sleep(0.01)
