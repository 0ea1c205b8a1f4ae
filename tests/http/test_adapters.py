"""Adapters on the wire: the list, and the header that says what a run used."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from serve_app.core.adapter import AdapterCard
from serve_app.runs.model import RunState
from tests.http.desk_service import DeskService
from tests.http.test_runs import BODY

CARD = AdapterCard("anime", "flux", "present", "directory", "anime.safetensors", ranks=(4, 8), triggers=("ohwx",))


def test_adapters_are_listed_with_everything_that_their_headers_say(client: TestClient, desk: DeskService) -> None:
    gone = AdapterCard("gone", "flux", "not downloaded", "hub", "gone.safetensors")
    desk.cards = [{"deployment": "adapt.lora", **card.as_json()} for card in (CARD, gone)]
    answer = client.get("/v1/adapters").json()
    assert answer["object"] == "list"
    assert answer["adapters"] == desk.cards
    assert answer["adapters"][0]["ranks"] == [4, 8]


def test_no_adapters_are_an_empty_list(client: TestClient) -> None:
    assert client.get("/v1/adapters").json() == {"object": "list", "adapters": []}


def _report(*notes: Any) -> dict[str, Any]:
    steps = [{"node": str(index), "notes": {"adapters": each} if each else {}} for index, each in enumerate(notes)]
    return {"delivered_attempt": 1, "attempts": [{"number": 1, "is_finished": True, "steps": steps}]}


def _used(client: TestClient, desk: DeskService, *notes: Any) -> str | None:
    client.put("/v1/runs/mine", json=BODY)
    desk.end("mine", RunState.SUCCEEDED, _report(*notes))
    value: str | None = client.get("/v1/runs/mine").headers.get("x-lora-used")
    return value


def test_a_run_says_which_adapters_it_used_as_the_generator_applied_them(client: TestClient, desk: DeskService) -> None:
    found = [{"name": "qwen-character-7", "strength": 1.0}, {"name": "film", "strength": 1.0}]
    applied = [{"name": "qwen-character-7", "strength": 0.8}, {"name": "film", "strength": 1.0}]
    assert _used(client, desk, found, applied, None) == "qwen-character-7@0.8, film@1"


def test_a_run_without_adapters_says_nothing_of_them(client: TestClient, desk: DeskService) -> None:
    assert _used(client, desk, [], None) is None


def test_a_file_of_the_run_says_it_too(client: TestClient, desk: DeskService) -> None:
    client.put("/v1/runs/mine", json=BODY)
    report = _report([{"name": "anime", "strength": 0.65}])
    report["outputs"] = {"video": desk.keep(b"mp4", "video/mp4", "video.mp4")}
    desk.end("mine", RunState.SUCCEEDED, report)
    assert client.get("/v1/runs/mine/artifacts/video").headers["x-lora-used"] == "anime@0.65"
