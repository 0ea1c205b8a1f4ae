"""Every error is a problem document, and none says more of the inside than it should."""

from __future__ import annotations

import logging

import pytest
from starlette.testclient import TestClient

from serve_app.core.errors import (
    Cancelled,
    DeadlineExceeded,
    GreenlightError,
    InvalidPicture,
    Misconfigured,
    OutOfMemory,
    Rejected,
    StageFailed,
    Unavailable,
)
from serve_app.http import problems
from tests.http.desk_service import DeskService

SECRET = "/srv/secret/weights.bin"


@pytest.mark.parametrize(
    "error",
    [
        InvalidPicture("inputs.image", "it is cut short"),
        Rejected("still", 3, 0.5, "nothing moves"),
        Cancelled(),
        GreenlightError("x"),
        Misconfigured(SECRET, "x"),
        OutOfMemory(SECRET, "cuda"),
        StageFailed("upscale.edsr", "KeyError", SECRET),
        Unavailable(SECRET, "x"),
        DeadlineExceeded("budget_s", 3.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_family_is_mapped_by_its_class(client: TestClient, desk: DeskService, error: GreenlightError) -> None:
    desk.fault = error
    answer = client.get("/v1/runs/mine")
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"]) == (error.status, error.status)
    assert (problem["code"], problem["type"]) == (error.code, f"/problems/{error.code}")
    assert problem["run_id"] == "mine"
    assert SECRET not in answer.text
    assert ("incident" in problem) == (error.status >= 500)


def test_an_unavailable_part_says_when_to_try_again(client: TestClient, desk: DeskService) -> None:
    desk.fault = Unavailable("store", "no route to host")
    assert client.get("/v1/runs/mine").headers["retry-after"] == "5"


def test_an_unforeseen_error_leaks_nothing_and_is_logged_under_its_incident(
    client: TestClient, desk: DeskService, caplog: pytest.LogCaptureFixture
) -> None:
    desk.fault = KeyError(SECRET)
    with caplog.at_level(logging.ERROR):
        answer = client.get("/v1/runs/mine", headers={"X-Request-ID": "trace-1"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_server_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "trace-1"
    assert answer.json()["incident"] in caplog.text
    assert SECRET in caplog.text


def test_absent_members_are_left_out(client: TestClient) -> None:
    assert None not in client.get("/v1/runs/nobody").json().values()


def test_an_address_that_does_not_exist_is_a_problem(client: TestClient) -> None:
    answer = client.get("/v1/jobs")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["type"]) == (404, "about:blank")


def test_a_trailing_slash_is_another_address(client: TestClient) -> None:
    assert client.get("/v1/runs/", follow_redirects=False).status_code == 404


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("/v1/runs", "GET, HEAD, POST"),
        ("/v1/runs/mine", "GET, HEAD, PUT"),
        ("/v1/runs/mine/cancel", "POST"),
        ("/v1/runs/mine/events", "GET"),
        ("/healthz", "GET, HEAD"),
    ],
)
def test_a_wrong_method_names_every_allowed_one(client: TestClient, address: str, allowed: str) -> None:
    answer = client.patch(address)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("code", sorted(problems.types()))
def test_the_type_of_every_problem_leads_to_its_description(client: TestClient, code: str) -> None:
    found = client.get(f"/problems/{code}").json()
    assert found["code"] == code
    assert found["title"]


def test_an_unknown_problem_type_is_not_found(client: TestClient) -> None:
    assert "did you mean bad_request" in client.get("/problems/bad_reqest").json()["detail"]


@pytest.mark.parametrize("status", [413, 416, 422])
def test_a_code_does_not_depend_on_the_interpreters_words(status: int) -> None:
    codes = {413: "content_too_large", 416: "range_not_satisfiable", 422: "unprocessable_content"}
    assert problems.plain(status, "x").code == codes[status]
