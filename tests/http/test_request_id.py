"""X-Request-ID on every answer."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize("address", ["/healthz", "/v1/runs/nobody", "/nowhere"])
def test_the_callers_id_comes_back(client: TestClient, address: str) -> None:
    assert client.get(address, headers={"X-Request-ID": "a:b-1.2"}).headers["x-request-id"] == "a:b-1.2"


def test_two_requests_without_one_get_different_ids(client: TestClient) -> None:
    first, second = (client.get("/healthz").headers["x-request-id"] for _ in range(2))
    assert first != second
    assert len(first) == 32


@pytest.mark.parametrize("given", ["a b", "x" * 129, "a\tb", "<script>", ""])
def test_an_id_that_could_forge_a_log_line_is_replaced(client: TestClient, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"] != given
