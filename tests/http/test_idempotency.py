"""POST with an Idempotency-Key."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.http.desk_service import DeskService
from tests.http.test_runs import BODY

KEYED = {"Idempotency-Key": '"order-17"'}


def test_the_same_key_and_body_are_the_same_run(client: TestClient, desk: DeskService) -> None:
    first = client.post("/v1/runs", json=BODY, headers=KEYED)
    again = client.post("/v1/runs", json=BODY, headers=KEYED)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert len(desk.submissions) == 1


def test_quotes_around_the_key_mean_nothing(client: TestClient) -> None:
    first = client.post("/v1/runs", json=BODY, headers=KEYED)
    bare = client.post("/v1/runs", json=BODY, headers={"Idempotency-Key": "order-17"})
    assert bare.json()["id"] == first.json()["id"]


def test_the_same_key_with_another_body_is_a_conflict(client: TestClient) -> None:
    client.post("/v1/runs", json=BODY, headers=KEYED)
    other = {**BODY, "inputs": {**BODY["inputs"], "prompt": "something else"}}
    assert client.post("/v1/runs", json=other, headers=KEYED).status_code == 409


def test_without_a_key_every_post_is_a_new_run(client: TestClient) -> None:
    ids = {client.post("/v1/runs", json=BODY).json()["id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize("key", [b"", b'""', b"k" * 256, b"schl\xfcssel"])
def test_what_is_no_key_is_refused_by_name(client: TestClient, key: bytes) -> None:
    answer = client.post("/v1/runs", json=BODY, headers={b"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")
