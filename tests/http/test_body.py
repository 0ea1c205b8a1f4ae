"""What a request body may be, in JSON and as a form, and every way in which it may not."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from serve_app.http.service import Upload
from tests.http.conftest import LIMITS, Live
from tests.http.desk_service import DeskService

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
ENCODED = base64.b64encode(PNG).decode()


def send(client: TestClient, inputs: dict[str, Any]) -> Response:
    return client.post("/v1/runs", json={"pipeline": "animate", "inputs": inputs})


def send_raw(client: TestClient, raw: bytes | str, content_type: str = "application/json") -> Response:
    return client.post("/v1/runs", content=raw, headers={"Content-Type": content_type})


def refusal(answer: Response) -> tuple[int, str | None]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json().get("field")


def test_json_inputs_arrive_with_their_types(client: TestClient, desk: DeskService) -> None:
    inputs = {"prompt": "ein Füchschen", "seed": 2**63, "frames": 9, "strength": 1, "loop": True}
    assert send(client, inputs).status_code == 202
    assert desk.submissions[0].inputs == inputs


def test_an_alias_is_checked_as_the_input_it_stands_for(client: TestClient, desk: DeskService) -> None:
    assert send(client, {"prompt": "x", "num_frames": 9}).status_code == 202
    assert desk.submissions[0].inputs["num_frames"] == 9
    assert refusal(send(client, {"prompt": "x", "num_frames": "9"})) == (422, "inputs.num_frames")


@pytest.mark.parametrize("text", [f"data:image/png;base64,{ENCODED}", ENCODED, f"data:image/webp;a=b;base64,{ENCODED}"])
def test_a_picture_in_json_is_a_data_url_or_base64(client: TestClient, desk: DeskService, text: str) -> None:
    assert send(client, {"prompt": "x", "image": text}).status_code == 202
    assert desk.submissions[0].inputs["image"] == Upload(PNG, None)


def test_a_picture_comes_back_as_what_identifies_it(client: TestClient) -> None:
    image = send(client, {"prompt": "x", "image": ENCODED}).json()["inputs"]["image"]
    assert set(image) == {"digest", "media_type", "size_bytes"}


@pytest.mark.parametrize("address", ["https://example.org/a.png", "HTTP://169.254.169.254/", "file:///etc/passwd"])
def test_an_address_is_never_fetched(client: TestClient, address: str) -> None:
    answer = send(client, {"prompt": "x", "image": address})
    assert refusal(answer) == (422, "inputs.image")
    assert "fetches no addresses" in answer.json()["detail"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data:image/png;base64,",
        "data:text/html;base64,aGk=",
        "data:image/png,abc",
        "data:image/png;base64,@@@@",
        ENCODED + "!",
        ENCODED[:-1] + "é",
        "YWJj\nYWJj",
        5,
        None,
        {"url": "x"},
    ],
)
def test_what_is_no_picture_is_refused(client: TestClient, text: Any) -> None:
    assert refusal(send(client, {"prompt": "x", "image": text})) == (422, "inputs.image")


@pytest.mark.parametrize("size", [LIMITS.upload_bytes + 1, LIMITS.upload_bytes + 9000])
def test_a_picture_beyond_the_limit_is_too_large(client: TestClient, size: int) -> None:
    text = base64.b64encode(bytes(size)).decode()
    assert refusal(send(client, {"prompt": "x", "image": text})) == (413, "inputs.image")


def test_a_picture_at_the_limit_is_taken(client: TestClient) -> None:
    text = base64.b64encode(bytes(LIMITS.upload_bytes)).decode()
    assert send(client, {"prompt": "x", "image": text}).status_code == 202


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", 5),
        ("prompt", None),
        ("prompt", ["a"]),
        ("seed", "5"),
        ("seed", 5.0),
        ("seed", True),
        ("frames", {"a": 1}),
        ("strength", "0.5"),
        ("strength", False),
        ("loop", 1),
        ("loop", "true"),
        ("clip", "x"),
        ("promt", "a fox"),
    ],
)
def test_a_json_value_of_another_type_is_refused(client: TestClient, name: str, value: Any) -> None:
    assert refusal(send(client, {name: value})) == (422, f"inputs.{name}")


def test_a_text_beyond_the_limit_is_too_large(client: TestClient) -> None:
    assert refusal(send(client, {"prompt": "é" * 501})) == (413, "inputs.prompt")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"pipeline": "animate", "input": {}}, "input"),
        ({"inputs": {}}, "pipeline"),
        ({"pipeline": 5}, "pipeline"),
        ({"pipeline": "animate", "inputs": []}, "inputs"),
        ({"pipeline": "animate", "policy": "x"}, "policy"),
        ({"pipeline": "animate", "query": 1}, "query"),
        ([], "body"),
        ("text", "body"),
        (None, "body"),
    ],
)
def test_a_body_of_another_shape_is_refused(client: TestClient, body: Any, field: str) -> None:
    assert refusal(send_raw(client, json.dumps(body))) == (422, field)


def test_every_fault_in_a_body_is_listed(client: TestClient) -> None:
    faults = send_raw(client, '{"pipeline": 5, "stage": 1}').json()["errors"]
    assert {fault["field"] for fault in faults} == {"pipeline", "stage"}
    assert faults[1]["reason"] == "there is no such field"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"pipeline": NaN}',
        b'{"pipeline": -Infinity}',
        b'{"pipeline": 1e999}',
        b'{"pipeline": 18446744073709551616}',
        b'{"pipeline": ' + b"9" * 5000 + b"}",
        b'{"pipeline": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"pipeline": "a\\u0000b"}',
        b'{"pipeline": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"pipeline": "animate"}'.encode("utf-16"),
        b'{"a":' * 17 + b"1" + b"}" * 17,
        b"[" * 90_000,
        b'{"a":[' + b"0," * 2001 + b"0]}",
    ],
)
def test_what_is_not_plain_json_is_a_bad_request(client: TestClient, raw: bytes) -> None:
    assert send_raw(client, raw).status_code == 400
    assert send_raw(client, raw).json()["code"] == "bad_request"


def test_a_repeated_key_is_refused_by_name(client: TestClient) -> None:
    raw = '{"pipeline": "animate", "inputs": {"seed": 1, "seed": 2}}'
    assert refusal(send_raw(client, raw)) == (400, "seed")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
def test_another_content_type_is_refused(client: TestClient, content_type: str) -> None:
    answer = send_raw(client, "{}", content_type)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["accept"] == "application/json, multipart/form-data"


def test_a_body_without_content_type_is_refused(client: TestClient) -> None:
    assert client.post("/v1/runs", content=b"{}").status_code == 415


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.post("/v1/runs", content=b"{}", headers=headers).status_code == 415


def test_another_charset_is_refused(client: TestClient) -> None:
    assert send_raw(client, "{}", "application/json; charset=latin-1").status_code == 415


@pytest.mark.parametrize("content_type", ["Application/JSON", "application/json; charset=UTF-8"])
def test_a_content_type_is_read_as_the_standard_has_it(client: TestClient, content_type: str) -> None:
    raw = json.dumps({"pipeline": "animate", "inputs": {"prompt": "x"}})
    assert send_raw(client, raw, content_type).status_code == 202


def test_a_declared_length_beyond_the_limit_is_too_large(client: TestClient) -> None:
    assert refusal(send_raw(client, bytes(LIMITS.body_bytes + 1))) == (413, "body")


def test_a_declared_length_beyond_the_limit_is_refused_before_the_body_comes(live: Live) -> None:
    head = "POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as caller:
        caller.sendall(head.encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 413")


def test_a_chunked_body_beyond_the_limit_is_too_large(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(LIMITS.body_bytes // 1000 + 1):
            yield b" " * 1000

    answer = client.post("/v1/runs", content=chunks(), headers={"Content-Type": "application/json"})
    assert refusal(answer) == (413, "body")


def test_a_length_that_lies_does_not_widen_the_limit(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": "2"}
    answer = client.post("/v1/runs", content=bytes(LIMITS.body_bytes + 1), headers=headers)
    assert refusal(answer) == (413, "body")


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ('{"pipeline": "animate", "inputs": {"seed": 99999999999999999999}}', "inputs.seed"),
        ('{"pipeline": "animate", "inputs": {"strength": 1e999}}', "inputs.strength"),
        ('{"pipeline": "animate", "inputs": {"prompt": "a\\u0000b"}}', "inputs.prompt"),
        ('{"pipeline": "animate", "inputs": {"prompt": ["a", "\\ud800"]}}', "inputs.prompt.1"),
        ('{"pipeline": "animate", "inputs": {"\\ud800": 1e999}}', "inputs"),
        ('{"\\ud800": 1, "\\ud800": 2}', "body"),
    ],
)
def test_a_value_that_json_cannot_carry_is_refused_by_its_field(client: TestClient, raw: str, field: str) -> None:
    assert refusal(send_raw(client, raw)) == (400, field)


def test_a_number_of_very_many_digits_is_refused_at_once(client: TestClient) -> None:
    digits = "1" * (LIMITS.body_bytes // 2)
    form = {"pipeline": (None, "animate"), "strength": (None, f"{digits}x")}
    started_s = time.monotonic()
    answer = client.post("/v1/runs", files=form)
    assert refusal(answer) == (422, "inputs.strength")
    assert time.monotonic() - started_s < 5


def test_a_very_long_name_is_not_sent_back(client: TestClient) -> None:
    assert len(send(client, {"k" * 50_000: 1}).content) < 1000
    assert refusal(send_raw(client, json.dumps({"pipeline": "k" * 50_000}))) == (422, "pipeline")
