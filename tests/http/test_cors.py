"""Pages of other origins."""

from __future__ import annotations

from starlette.testclient import TestClient

from serve_app.http.app import make_api
from tests.http.desk_service import DeskService

STUDIO = "https://studio.example"
ASKED = {"Origin": STUDIO, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}


def test_no_page_of_another_origin_may_call_by_default(client: TestClient) -> None:
    assert "access-control-allow-origin" not in client.get("/v1/pipelines", headers={"Origin": STUDIO}).headers


def test_a_page_of_an_origin_that_was_named_may_and_reads_our_headers(desk: DeskService) -> None:
    client = TestClient(make_api(desk, [STUDIO]))
    assert client.options("/v1/runs/mine", headers=ASKED).headers["access-control-allow-origin"] == STUDIO
    answer = client.get("/v1/pipelines", headers={"Origin": STUDIO})
    assert answer.headers["access-control-allow-origin"] == STUDIO
    assert "X-Greenlight-Cost-USD" in answer.headers["access-control-expose-headers"]


def test_any_other_origin_may_not(desk: DeskService) -> None:
    client = TestClient(make_api(desk, [STUDIO]))
    answer = client.get("/v1/pipelines", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers
