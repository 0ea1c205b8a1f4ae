"""GET /metrics: what the store counted, and what this replica answered."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from serve_app.core.errors import BadAdapter
from serve_app.runs.tally import Figures
from tests.http.desk_service import DeskService
from tests.http.test_runs import BODY


def scrape(client: TestClient) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "replica")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_what_the_store_counted_is_there_with_what_waits(client: TestClient, desk: DeskService) -> None:
    desk.counted = Figures({("attempts", ("animate", "fail")): 4.0}, {("animate", "queued"): 2.0}, 7.5, 1)
    found = scrape(client)
    assert found["greenlight_attempts_total", "animate", "fail"] == 4
    assert found["greenlight_runs", "animate", "queued"] == 2
    assert found["greenlight_oldest_queued_seconds",] == 7.5
    assert found["greenlight_runners",] == 1


def test_answers_are_counted_by_route_and_never_by_address(client: TestClient) -> None:
    client.put("/v1/runs/mine", json=BODY)
    client.get("/v1/runs/mine")
    client.get("/v1/runs/yours")
    client.get("/nowhere/1")
    found = scrape(client)
    assert found["greenlight_http_answers_total", "PUT", "/v1/runs/{run_id}", "202"] == 1
    assert found["greenlight_http_answers_total", "GET", "/v1/runs/{run_id}", "200"] == 1
    assert found["greenlight_http_answers_total", "GET", "/v1/runs/{run_id}", "404"] == 1
    assert found["greenlight_http_answers_total", "GET", "other", "404"] == 1


def test_validation_and_adapter_errors_have_counters_from_the_start(client: TestClient, desk: DeskService) -> None:
    found = scrape(client)
    assert found["greenlight_http_problems_total", "invalid_input"] == 0
    assert found["greenlight_http_problems_total", "bad_adapter"] == 0
    client.post("/v1/runs", json={**BODY, "inputs": {"prompt": "x", "frames": "many"}})
    desk.fault = BadAdapter("a.safetensors", None, "it is empty")
    client.post("/v1/runs", json=BODY)
    desk.fault = None
    found = scrape(client)
    assert found["greenlight_http_problems_total", "invalid_input"] == 1
    assert found["greenlight_http_problems_total", "bad_adapter"] == 1


def test_two_apis_count_for_themselves(client: TestClient, desk: DeskService) -> None:
    from serve_app.http.app import make_api

    client.get("/v1/pipelines")
    other = TestClient(make_api(desk))
    assert ("greenlight_http_answers_total", "GET", "/v1/pipelines", "200") not in scrape(other)


def test_what_nobody_foresaw_is_counted_as_a_500(desk: DeskService) -> None:
    from serve_app.http.app import make_api

    with TestClient(make_api(desk), raise_server_exceptions=False) as client:
        desk.fault = ZeroDivisionError("a bug")
        assert client.get("/v1/runs/mine").status_code == 500
        desk.fault = None
        assert scrape(client)["greenlight_http_answers_total", "GET", "/v1/runs/{run_id}", "500"] == 1
