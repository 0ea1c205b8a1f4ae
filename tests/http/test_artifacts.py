"""A run's files, from a real server: ranges, conditions, headers."""

from __future__ import annotations

import hashlib

import httpx2
import pytest
from starlette.testclient import TestClient

from serve_app.runs.model import RunState
from tests.http.conftest import Live
from tests.http.desk_service import DeskService
from tests.http.test_runs import BODY

DATA = bytes(range(256)) * 1024
DIGEST = hashlib.sha256(DATA).hexdigest()
ADDRESS = "/v1/runs/mine/artifacts/video"


@pytest.fixture(autouse=True)
def finished(client: TestClient, desk: DeskService) -> None:
    client.put("/v1/runs/mine", json=BODY)
    outputs = {
        "video": desk.keep(DATA, "video/mp4", "clip.mp4"),
        "page": desk.keep(b"<script>", "text/html", 'a"b\r\nc.html'),
        "drawing": desk.keep(b"<svg/>", "image/svg+xml", "drawing.svg"),
    }
    desk.end("mine", RunState.SUCCEEDED, {"outputs": outputs})


def test_a_file_is_sent_whole_with_its_headers(live: Live) -> None:
    answer = httpx2.get(live.url + ADDRESS)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert answer.headers["content-disposition"] == 'inline; filename="clip.mp4"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=1000-", 1000, len(DATA)), ("bytes=-7", len(DATA) - 7, len(DATA))],
)
def test_a_range_is_sent_alone(live: Live, asked: str, start: int, end: int) -> None:
    answer = httpx2.get(live.url + ADDRESS, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


def test_a_range_is_sent_alone_if_the_file_is_still_the_same(live: Live) -> None:
    answer = httpx2.get(live.url + ADDRESS, headers={"Range": "bytes=0-9", "If-Range": f'"{DIGEST}"'})
    assert answer.status_code == 206
    other = httpx2.get(live.url + ADDRESS, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert other.status_code == 200


def test_a_range_outside_of_the_file_is_a_problem_that_says_its_size(live: Live) -> None:
    answer = httpx2.get(live.url + ADDRESS, headers={"Range": "bytes=999999999-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "range_not_satisfiable"


def test_a_malformed_range_is_a_problem(live: Live) -> None:
    answer = httpx2.get(live.url + ADDRESS, headers={"Range": "frames=1-2"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_head_has_the_headers_and_no_body(live: Live) -> None:
    answer = httpx2.head(live.url + ADDRESS)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(DATA))


@pytest.mark.parametrize("tags", [f'"{DIGEST}"', f'"other", W/"{DIGEST}"', "*"])
def test_a_known_file_is_not_sent_again(live: Live, tags: str) -> None:
    answer = httpx2.get(live.url + ADDRESS, headers={"If-None-Match": tags})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"{DIGEST}"'


def test_another_tag_has_the_file_sent(live: Live) -> None:
    assert httpx2.get(live.url + ADDRESS, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", ["page", "drawing"])
def test_a_file_that_could_hold_script_is_saved_and_not_shown(client: TestClient, name: str) -> None:
    answer = client.get(f"/v1/runs/mine/artifacts/{name}")
    assert answer.headers["content-disposition"].startswith("attachment;")


def test_a_file_name_cannot_end_its_header(client: TestClient) -> None:
    disposition = client.get("/v1/runs/mine/artifacts/page").headers["content-disposition"]
    assert disposition == "attachment; filename*=utf-8''a%22b%0D%0Ac.html"


def test_a_run_lists_its_files(client: TestClient) -> None:
    found = client.get("/v1/runs/mine/artifacts").json()["artifacts"]
    assert set(found) == {"video", "page", "drawing"}
    assert found["video"] == {
        "url": ADDRESS,
        "media_type": "video/mp4",
        "size_bytes": len(DATA),
        "digest": DIGEST,
        "facts": {"fps": "24"},
    }


def test_an_unknown_file_is_not_found_and_the_nearest_is_offered(client: TestClient) -> None:
    answer = client.get("/v1/runs/mine/artifacts/vide")
    assert answer.status_code == 404
    assert "did you mean video" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fpasswd", "%2e%2e"])
def test_a_name_that_climbs_is_not_found(client: TestClient, name: str) -> None:
    assert client.get(f"/v1/runs/mine/artifacts/{name}").status_code == 404
