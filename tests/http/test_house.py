"""Pipelines, health and readiness."""

from __future__ import annotations

from starlette.testclient import TestClient

from tests.http.desk_service import PIPELINES, DeskService


def test_every_pipeline_is_listed_with_its_inputs(client: TestClient) -> None:
    found = client.get("/v1/pipelines").json()["pipelines"]
    assert [entry["name"] for entry in found] == ["animate"]
    assert found[0]["inputs"]["prompt"]["required"] is True
    assert found[0]["inputs"]["strength"]["maximum"] == 1.0


def test_one_pipeline_is_shown_whole(client: TestClient) -> None:
    found = client.get("/v1/pipelines/animate").json()
    assert {key: found[key] for key in ("steps", "diagram", "policy", "outputs")} == {
        key: PIPELINES[0][key] for key in ("steps", "diagram", "policy", "outputs")
    }


def test_an_unknown_pipeline_is_not_found(client: TestClient) -> None:
    answer = client.get("/v1/pipelines/anymate")
    assert (answer.status_code, answer.json()["field"]) == (404, "pipeline")


def test_a_process_that_is_up_is_healthy_whatever_its_models(client: TestClient, desk: DeskService) -> None:
    desk.fault = KeyError("store")
    assert client.get("/healthz").json() == {"status": "ok"}


def test_readiness_shows_its_facts(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"is_ready": True, "runners": 1})


def test_a_server_that_is_not_ready_says_why(client: TestClient, desk: DeskService) -> None:
    desk.facts = {"is_ready": False, "runners": 0, "reason": "no runner has given a sign of life"}
    answer = client.get("/readyz")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["facts"]) == (503, desk.facts)
    assert answer.headers["retry-after"] == "5"
