"""The headers that say what a run came to."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from serve_app.http.facts import HEADERS
from serve_app.runs.model import RunState
from tests.http.desk_service import DeskService
from tests.http.test_runs import BODY

ADDRESS = "/v1/runs/mine"


def report(**changes: Any) -> dict[str, Any]:
    attempts = [
        {"number": 1, "seed": 7, "verdict": "fail", "is_finished": True, "outputs": {}},
        {"number": 2, "seed": 8, "verdict": "pass", "is_finished": True, "outputs": {}},
    ]
    said = {"verdict": {"word": "pass"}, "delivered_attempt": 2, "attempts": attempts, "cost": {"usd": 0.017748}}
    return {**said, "timings": {"attempts_s": 58.0}, **changes}


def facts(headers: Any) -> dict[str, str]:
    return {name: headers[name] for name in HEADERS if name in headers}


@pytest.fixture(autouse=True)
def asked(client: TestClient) -> None:
    client.put(ADDRESS, json=BODY)


def test_58_seconds_of_an_a10_are_0_0177_usd_in_a_header(client: TestClient, desk: DeskService) -> None:
    desk.end("mine", RunState.SUCCEEDED, report())
    assert facts(client.get(ADDRESS).headers) == {
        "X-Greenlight-Cost-USD": "0.017748",
        "X-Greenlight-Seconds": "58.0",
        "X-Greenlight-Seed": "8",
        "X-Greenlight-Verdict": "pass",
    }


def test_a_run_that_is_not_over_has_none(client: TestClient) -> None:
    assert facts(client.get(ADDRESS).headers) == {}


def test_an_unknown_cost_is_left_out_and_not_zero(client: TestClient, desk: DeskService) -> None:
    desk.end("mine", RunState.SUCCEEDED, report(cost={"usd": None}))
    assert "X-Greenlight-Cost-USD" not in client.get(ADDRESS).headers


def test_a_rejected_run_has_the_seed_of_the_last_attempt_that_was_judged(client: TestClient, desk: DeskService) -> None:
    desk.end("mine", RunState.REJECTED, report(delivered_attempt=None, verdict={"word": "fail"}))
    found = facts(client.get(ADDRESS).headers)
    assert (found["X-Greenlight-Seed"], found["X-Greenlight-Verdict"]) == ("8", "fail")


def test_a_small_cost_is_written_out_and_never_in_powers_of_ten(client: TestClient, desk: DeskService) -> None:
    desk.end("mine", RunState.SUCCEEDED, report(cost={"usd": 0.0000131}))
    assert client.get(ADDRESS).headers["X-Greenlight-Cost-USD"] == "0.0000131"


def test_every_attempts_sheet_can_be_fetched_with_its_own_seed_and_verdict(
    client: TestClient, desk: DeskService
) -> None:
    sheet = desk.keep(b"pixels of the first", "image/png", "sheet.png")
    said = report()
    said["attempts"][0]["outputs"] = {"sheet": sheet}
    desk.end("mine", RunState.SUCCEEDED, {**said, "outputs": {"sheet@1": sheet}})
    assert "sheet@1" in client.get(f"{ADDRESS}/artifacts").json()["artifacts"]
    answer = client.get(f"{ADDRESS}/artifacts/sheet@1")
    assert answer.content == b"pixels of the first"
    found = facts(answer.headers)
    assert (found["X-Greenlight-Seed"], found["X-Greenlight-Verdict"]) == ("7", "fail")
    assert found["X-Greenlight-Cost-USD"] == "0.017748", "the cost is the run's"


def test_the_document_describes_them(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/runs/{run_id}", "/v1/runs/{run_id}/artifacts/{name}"):
        assert set(HEADERS) <= set(paths[path]["get"]["responses"]["200"]["headers"])
