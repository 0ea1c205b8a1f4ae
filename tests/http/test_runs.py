"""Submitting, looking up, listing and cancelling runs."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve_app.runs.model import RunState
from tests.http.desk_service import DeskService

BODY: dict[str, Any] = {"pipeline": "animate", "inputs": {"prompt": "a fox"}, "policy": {"attempts": 2}}


def test_a_new_run_is_accepted_with_its_address(client: TestClient) -> None:
    answer = client.post("/v1/runs", json=BODY)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/runs/{answer.json()['id']}"
    assert client.get(answer.headers["location"]).json() == answer.json()


def test_a_run_on_the_wire_has_its_whole_shape(client: TestClient) -> None:
    run = client.put("/v1/runs/mine", json=BODY).json()
    assert set(run) == {
        "id", "object", "pipeline", "state", "is_cancel_requested", "inputs", "policy", "created_at", "started_at",
        "finished_at", "seed_origin", "verdict", "is_accepted", "scores", "attempts", "cost", "warnings", "error",
        "artifacts", "links",
    }  # fmt: skip
    assert run["object"] == "run"
    assert run["state"] == "queued"
    assert run["links"]["events"] == "/v1/runs/mine/events"


def test_times_are_iso_8601_in_utc(client: TestClient) -> None:
    created = client.put("/v1/runs/mine", json=BODY).json()["created_at"]
    assert created.endswith("Z")
    assert datetime.fromisoformat(created).utcoffset() == timedelta(0)


def test_put_uses_the_callers_id(client: TestClient) -> None:
    answer = client.put("/v1/runs/shot-12_b", json=BODY)
    assert (answer.status_code, answer.json()["id"]) == (202, "shot-12_b")


def test_the_same_put_again_is_the_same_run(client: TestClient, desk: DeskService) -> None:
    client.put("/v1/runs/mine", json=BODY)
    answer = client.put("/v1/runs/mine", json=BODY)
    assert (answer.status_code, answer.json()["id"]) == (200, "mine")
    assert len(desk.submissions) == 1


def test_another_body_under_the_same_id_is_a_conflict(client: TestClient) -> None:
    client.put("/v1/runs/mine", json=BODY)
    answer = client.put("/v1/runs/mine", json={**BODY, "policy": {}})
    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["run_id"]) == ("conflict", "mine")


@pytest.mark.parametrize("run_id", ["a.b", "a%20b", "x" * 65, "caf%C3%A9", "a%0A"])
def test_an_id_of_other_characters_is_refused(client: TestClient, run_id: str) -> None:
    answer = client.put(f"/v1/runs/{run_id}", json=BODY)
    assert (answer.status_code, answer.json()["field"]) == (422, "run_id")


def test_a_full_queue_says_when_to_try_again(client: TestClient, desk: DeskService) -> None:
    desk.most_queued = 0
    answer = client.post("/v1/runs", json=BODY)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (429, "17", "busy")


def test_what_the_service_refuses_names_the_field(client: TestClient) -> None:
    answer = client.post("/v1/runs", json={**BODY, "inputs": {"prompt": "a fox", "frames": 8}})
    assert (answer.status_code, answer.json()["field"]) == (422, "inputs.frames")
    assert "1 and 9" in answer.json()["detail"]


def test_an_unknown_pipeline_is_not_found_and_the_nearest_is_offered(client: TestClient) -> None:
    answer = client.post("/v1/runs", json={**BODY, "pipeline": "anymate"})
    assert (answer.status_code, answer.json()["field"]) == (404, "pipeline")
    assert "did you mean animate" in answer.json()["detail"]


def test_wait_answers_201_with_the_final_run(client: TestClient, desk: DeskService) -> None:
    ending = threading.Timer(0.2, lambda: desk.end("mine", RunState.SUCCEEDED))
    ending.start()
    answer = client.put("/v1/runs/mine", json=BODY, headers={"Prefer": "respond-async, wait=2"})
    ending.join()
    assert (answer.status_code, answer.json()["state"]) == (201, "succeeded")
    assert answer.headers["preference-applied"] == "wait=2"


def test_wait_on_a_repeat_answers_200_with_the_final_run(client: TestClient, desk: DeskService) -> None:
    desk.ends_at_once = True
    client.put("/v1/runs/mine", json=BODY)
    answer = client.put("/v1/runs/mine", json=BODY, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")


def test_wait_ends_with_202_when_the_time_is_over(client: TestClient) -> None:
    answer = client.post("/v1/runs", json=BODY, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")


def test_wait_is_cut_to_the_limit_and_says_so(client: TestClient, desk: DeskService) -> None:
    desk.ends_at_once = True
    answer = client.post("/v1/runs", json=BODY, headers={"Prefer": "wait=86400"})
    assert answer.headers["preference-applied"] == "wait=2"


@pytest.mark.parametrize("preference", ["wait=soon", "wait=-1", "wait", "handling=strict", "wait=0"])
def test_a_preference_that_is_not_understood_is_not_applied(client: TestClient, preference: str) -> None:
    answer = client.post("/v1/runs", json=BODY, headers={"Prefer": preference})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


def test_an_unknown_run_is_not_found(client: TestClient) -> None:
    answer = client.get("/v1/runs/nobody")
    assert (answer.status_code, answer.json()["code"], answer.json()["run_id"]) == (404, "not_found", "nobody")


def test_runs_are_listed_page_by_page(client: TestClient) -> None:
    for name in ("a", "b", "c"):
        client.put(f"/v1/runs/{name}", json=BODY)
    first = client.get("/v1/runs", params={"limit": 2}).json()
    second = client.get("/v1/runs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [run["id"] for run in first["runs"] + second["runs"]] == ["c", "b", "a"]
    assert second["next_cursor"] is None


def test_runs_are_listed_by_state_and_pipeline(client: TestClient, desk: DeskService) -> None:
    client.put("/v1/runs/a", json=BODY)
    client.put("/v1/runs/b", json=BODY)
    desk.end("a", RunState.FAILED)
    found = client.get("/v1/runs", params={"state": "failed", "pipeline": "animate"}).json()
    assert [run["id"] for run in found["runs"]] == ["a"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("state=done", "state"), ("cursor=!", "cursor"), ("page=2", "page")],
)
def test_a_bad_list_parameter_is_refused(client: TestClient, query: str, field: str) -> None:
    answer = client.get(f"/v1/runs?{query}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_cancelling_a_working_run_is_accepted(client: TestClient, desk: DeskService) -> None:
    client.put("/v1/runs/mine", json=BODY)
    desk.begin("mine")
    answer = client.post("/v1/runs/mine/cancel")
    assert (answer.status_code, answer.json()["is_cancel_requested"]) == (202, True)


def test_cancelling_a_waiting_run_ends_it_at_once(client: TestClient) -> None:
    client.put("/v1/runs/mine", json=BODY)
    answer = client.post("/v1/runs/mine/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_cancelling_an_unknown_run_is_not_found(client: TestClient) -> None:
    assert client.post("/v1/runs/nobody/cancel").status_code == 404
