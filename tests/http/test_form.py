"""Submissions as multipart/form-data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from serve_app.http.service import Upload
from tests.http.conftest import LIMITS
from tests.http.desk_service import DeskService
from tests.http.test_body import ENCODED, PNG, refusal

BOUNDARY = "line"


def part(name: str, data: bytes | str, filename: str | None = None) -> bytes:
    named = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    content = data if isinstance(data, bytes) else data.encode()
    return f"--{BOUNDARY}\r\nContent-Disposition: {named}\r\n\r\n".encode() + content + b"\r\n"


def send(client: TestClient, *parts: bytes, end: bytes = b"--line--\r\n") -> Response:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return client.post("/v1/runs", content=b"".join(parts) + end, headers=headers)


def request_part(**body: Any) -> bytes:
    return part("request", json.dumps({"pipeline": "animate", **body}))


PIPELINE = part("pipeline", "animate")
PROMPT = part("inputs.prompt", "a fox")


def test_a_form_as_httpx_sends_it_is_taken(client: TestClient, desk: DeskService) -> None:
    files = {"image": ("fox.png", PNG, "image/png")}
    data = {"request": json.dumps({"pipeline": "animate", "inputs": {"prompt": "a fox"}})}
    assert client.post("/v1/runs", data=data, files=files).status_code == 202
    assert desk.submissions[0].inputs == {"prompt": "a fox", "image": Upload(PNG, "fox.png")}


@pytest.mark.parametrize("name", ["image", "inputs.image"])
def test_a_file_part_is_an_input(client: TestClient, desk: DeskService, name: str) -> None:
    assert send(client, request_part(inputs={"prompt": "x"}), part(name, PNG, "fox.png")).status_code == 202
    assert desk.submissions[0].inputs["image"] == Upload(PNG, "fox.png")


def test_plain_fields_are_converted_to_the_declared_types(client: TestClient, desk: DeskService) -> None:
    given = {"prompt": "Füchse", "seed": "+7", "frames": "9", "strength": "1e-1", "loop": "true", "image": ENCODED}
    fields = [part(f"inputs.{name}", text) for name, text in given.items()]
    assert send(client, PIPELINE, *fields, part("policy", '{"attempts": 2}')).status_code == 202
    submission = desk.submissions[0]
    wanted = {"prompt": "Füchse", "seed": 7, "frames": 9, "strength": 0.1, "loop": True, "image": Upload(PNG, None)}
    assert submission.inputs == wanted
    assert submission.policy == {"attempts": 2}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seed", "1_000"),
        ("seed", " 1"),
        ("seed", "1.0"),
        ("seed", "٣"),
        ("seed", ""),
        ("seed", "99999999999999999999"),
        ("strength", "nan"),
        ("strength", "inf"),
        ("strength", "1e999"),
        ("strength", "0,5"),
        ("loop", "True"),
        ("loop", "1"),
        ("clip", "x"),
        ("image", "https://example.org/a.png"),
        ("promt", "x"),
    ],
)
def test_a_text_that_is_not_the_declared_type_is_refused(client: TestClient, name: str, text: str) -> None:
    assert refusal(send(client, PIPELINE, part(f"inputs.{name}", text))) == (422, f"inputs.{name}")


def test_an_empty_file_is_refused(client: TestClient) -> None:
    assert refusal(send(client, PIPELINE, part("image", b"", ""))) == (422, "inputs.image")


def test_a_file_where_text_is_wanted_is_refused(client: TestClient) -> None:
    assert refusal(send(client, PIPELINE, part("prompt", "a fox", "fox.txt"))) == (422, "inputs.prompt")


@pytest.mark.parametrize("name", ["pipeline", "policy"])
def test_a_file_for_a_reserved_field_is_refused(client: TestClient, name: str) -> None:
    assert refusal(send(client, part(name, "{}", "a.txt"))) == (422, name)


@pytest.mark.parametrize("second", ["inputs.prompt", "prompt"])
def test_a_field_sent_twice_is_refused(client: TestClient, second: str) -> None:
    assert refusal(send(client, PIPELINE, PROMPT, part(second, "a cat"))) == (422, second)


def test_a_reserved_field_sent_twice_is_refused(client: TestClient) -> None:
    assert refusal(send(client, PIPELINE, PIPELINE)) == (422, "pipeline")


def test_an_input_in_the_request_and_in_a_part_is_refused(client: TestClient) -> None:
    answer = send(client, request_part(inputs={"prompt": "a fox"}), PROMPT)
    assert refusal(answer) == (422, "inputs.prompt")


def test_a_pipeline_in_the_request_and_in_a_field_is_refused(client: TestClient) -> None:
    assert refusal(send(client, request_part(), PIPELINE)) == (422, "pipeline")


def test_a_form_without_a_pipeline_is_refused(client: TestClient) -> None:
    assert refusal(send(client, PROMPT)) == (422, "pipeline")


def test_a_request_part_that_is_not_an_object_is_refused(client: TestClient) -> None:
    assert refusal(send(client, part("request", "[]"), PIPELINE)) == (422, "body")


def test_a_request_part_that_is_not_json_names_itself(client: TestClient) -> None:
    assert refusal(send(client, part("request", "{"))) == (400, "request")


def test_a_picture_beyond_the_limit_is_too_large(client: TestClient) -> None:
    answer = send(client, PIPELINE, part("image", bytes(LIMITS.upload_bytes + 1), "a.png"))
    assert refusal(answer) == (413, "inputs.image")


def test_a_text_beyond_the_limit_is_too_large(client: TestClient) -> None:
    answer = send(client, PIPELINE, part("prompt", "x" * (LIMITS.text_bytes + 1)))
    assert refusal(answer) == (413, "inputs.prompt")


def test_more_parts_than_the_limit_are_too_large(client: TestClient) -> None:
    answer = send(client, *(part(f"field{number}", "x") for number in range(LIMITS.parts + 1)))
    assert refusal(answer) == (413, "body")


def test_text_that_is_not_utf_8_is_refused_and_not_guessed(client: TestClient) -> None:
    assert refusal(send(client, PIPELINE, part("inputs.prompt", "Füchse".encode("latin-1")))) == (400, "inputs.prompt")


def test_text_with_a_nul_is_refused(client: TestClient) -> None:
    assert refusal(send(client, PIPELINE, part("inputs.prompt", "a\x00b"))) == (400, "inputs.prompt")


def test_a_form_that_is_cut_short_is_refused(client: TestClient) -> None:
    answer = send(client, PIPELINE, PROMPT, end=b"")
    assert refusal(answer) == (400, "body")
    assert "cut short" in answer.json()["detail"]


@pytest.mark.parametrize("raw", [b"--other\r\n\r\n--other--", b"nonsense", b"--line\r\nContent-Type: a/b\r\n\r\nx\r\n"])
def test_a_body_that_is_no_form_is_refused(client: TestClient, raw: bytes) -> None:
    assert refusal(send(client, raw)) == (400, "body")


def test_a_part_without_a_name_is_refused(client: TestClient) -> None:
    assert refusal(send(client, b"--line\r\nContent-Disposition: form-data\r\n\r\nx\r\n")) == (400, "body")


@pytest.mark.parametrize("boundary", ["", "; boundary=" + "x" * 300])
def test_a_boundary_that_is_missing_or_endless_is_refused(client: TestClient, boundary: str) -> None:
    headers = {"Content-Type": f"multipart/form-data{boundary}"}
    assert refusal(client.post("/v1/runs", content=b"x", headers=headers)) == (400, "body")
