"""Sweeps over HTTP, on a real store: what is taken, what is refused, and what a sweep looks like."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve_app.core.errors import InvalidInput, Unknown
from serve_app.core.optimal_seeds import OptimalSeed
from serve_app.graph.plan import Bound, Plan
from serve_app.graph.spec import RunPolicy
from serve_app.http.app import make_api
from serve_app.http.service import Sweeps
from serve_app.runs.ledger import Prices
from serve_app.runs.queue import Queue, QueueSettings
from serve_app.runs.report import Reporter
from serve_app.runs.sql import SqlRunStore
from serve_app.runs.sweep_model import SweepState
from serve_app.runs.sweeper import Sweeper
from serve_app.serving import sweeps
from serve_app.serving.service import describe
from serve_app.serving.sweeps import SweepService
from tests.graph.stages import bright, in_process
from tests.http.conftest import LIMITS
from tests.http.desk_service import DeskService

SEEDS = {"pipelines": ["bright"], "over": {"seed": [100, 150, 200]}}


class SweepDesk(DeskService):
    """A desk with one small pipeline, whose runs a test can have worked on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LIMITS)
        self.plans: dict[str, Plan] = {"bright": bright()}
        self.store = SqlRunStore(f"sqlite:///{folder / 'runs.db'}")

        async def keep(_field: str, value: Any, _is_film: bool) -> Any:
            return value

        self.asked: list[str] = []
        self.is_priced = True

        def priced(plan: Plan, _policy: RunPolicy) -> None:
            self.asked.append(plan.name)
            if not self.is_priced:
                raise InvalidInput("policy.budget_usd", "there is no price")

        self.optimal: dict[str, OptimalSeed] = {}
        self.kept: Sweeps = SweepService(self.store, self.plans, self.optimal, keep, priced)

    @property
    def sweeps(self) -> Sweeps:
        return self.kept

    def pipelines(self) -> list[dict[str, Any]]:
        return [describe(plan) for plan in self.plans.values()]

    def work(self, sweep_id: str) -> None:
        """Have a runner work until the sweep has ended."""
        asyncio.run(self._work(sweep_id))

    async def _work(self, sweep_id: str) -> None:
        reporter, caller = Reporter(self.plans, Prices()), in_process(self.folder)
        line = Queue(self.store, self.plans, caller, reporter, QueueSettings())
        sweeper = Sweeper(self.store, 100)
        while self.store.sweeps.get(sweep_id).state is SweepState.RUNNING:
            sweeper.look()
            await line.run_one()


@pytest.fixture
def desk(tmp_path: Path) -> SweepDesk:
    return SweepDesk(tmp_path)


@pytest.fixture
def client(desk: SweepDesk) -> TestClient:
    return TestClient(make_api(desk), raise_server_exceptions=False)


def test_a_sweep_is_taken_and_shows_every_cell(client: TestClient) -> None:
    answer = client.post("/v1/sweeps", json=SEEDS)
    assert answer.status_code == 202
    sweep = answer.json()
    assert answer.headers["Location"] == sweep["links"]["self"] == f"/v1/sweeps/{sweep['id']}"
    assert (sweep["state"], sweep["size"], sweep["counts"]) == ("running", 3, {"waiting": 3})
    assert [cell["axes"] for cell in sweep["cells"]] == [{"seed": 100}, {"seed": 150}, {"seed": 200}]
    assert all(cell["run_id"].startswith(f"{sweep['id']}-") for cell in sweep["cells"])
    assert client.get(sweep["links"]["self"]).json() == sweep


def test_the_same_put_again_is_the_same_sweep(client: TestClient) -> None:
    assert client.put("/v1/sweeps/mine", json=SEEDS).status_code == 202
    assert client.put("/v1/sweeps/mine", json=SEEDS).status_code == 200
    other = client.put("/v1/sweeps/mine", json={**SEEDS, "concurrency": 3})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_a_finished_sweep_has_scores_costs_and_a_table(client: TestClient, desk: SweepDesk) -> None:
    client.put("/v1/sweeps/mine", json={**SEEDS, "over": {"seed": [10, 200], "frames": [1, 2, 3]}})
    desk.work("mine")
    sweep = client.get("/v1/sweeps/mine").json()
    assert (sweep["state"], sweep["counts"]) == ("finished", {"rejected": 3, "succeeded": 3})
    cell = sweep["cells"][-1]
    assert (cell["verdict"], cell["is_accepted"], cell["judge"]) == ("pass", True, "brightness")
    assert cell["usd"] > 0
    tables = {table["axis"]: table for table in sweep["tables"]}
    assert (tables["seed"]["best"], tables["seed"]["winner"]) == ("200", None)
    assert tables["seed"]["margins"]["10"]["n"] == 1, "frames are a setting: three of them are one pair"
    assert (tables["frames"]["winner"], tables["frames"]["groups"][0]["points"]["n"]) == (None, 2)
    assert client.get(cell["url"]).status_code == 404, "this desk keeps its other runs elsewhere"


def test_sweeps_are_listed_without_their_cells(client: TestClient) -> None:
    for name in ("one", "two", "three"):
        client.put(f"/v1/sweeps/{name}", json=SEEDS)
    page = client.get("/v1/sweeps", params={"limit": 2}).json()
    assert [(sweep["id"], sweep["cells"]) for sweep in page["sweeps"]] == [("three", []), ("two", [])]
    rest = client.get("/v1/sweeps", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert ([sweep["id"] for sweep in rest["sweeps"]], rest["next_cursor"]) == (["one"], None)


def test_a_cancelled_sweep_is_202_then_200_and_a_finished_one_409(client: TestClient, desk: SweepDesk) -> None:
    for name in ("one", "two"):
        client.put(f"/v1/sweeps/{name}", json=SEEDS)
    assert client.post("/v1/sweeps/one/cancel").status_code == 202
    Sweeper(desk.store, 10).look()
    again = client.post("/v1/sweeps/one/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    desk.work("two")
    assert client.post("/v1/sweeps/two/cancel").status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"pipelines": ["bright"]}, 422, "over"),
        ({"over": {"seed": [1]}}, 422, "pipelines"),
        ({**SEEDS, "pipelines": ["brigth"]}, 404, "pipelines"),
        ({**SEEDS, "over": {"seed": [1, "two"]}}, 422, "over.seed.1"),
        ({**SEEDS, "over": {"seed": [1, -2]}}, 422, "over.seed"),
        ({**SEEDS, "over": {"colour": ["red"]}}, 422, "over.colour.0"),
        ({**SEEDS, "over": {"seed": [1, 1]}}, 422, "body"),
        ({**SEEDS, "inputs": {"frames": "9"}}, 422, "inputs.frames"),
        ({**SEEDS, "variants": {"a": {"frames": 1.5}}}, 422, "variants.a.frames"),
        ({**SEEDS, "policy": {"attempts": 0}}, 422, "policy.attempts"),
        ({**SEEDS, "policy": {"attempts": 2}}, 422, "policy.attempts"),
        ({**SEEDS, "concurrency": "2"}, 422, "concurrency"),
        ({**SEEDS, "score": "sheet"}, 422, "score"),
        ({**SEEDS, "ladder": "stepps"}, 422, "ladder"),
        ({**SEEDS, "max_cells": 2}, 422, "max_cells"),
        ({**SEEDS, "cells": 2}, 422, "cells"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field_and_nothing_is_recorded(
    client: TestClient, body: dict[str, Any], status: int, field: str
) -> None:
    answer = client.post("/v1/sweeps", json=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert client.get("/v1/sweeps").json()["sweeps"] == []


def test_a_form_is_not_taken(client: TestClient) -> None:
    assert client.post("/v1/sweeps", data={"pipelines": "bright"}).status_code == 415


@pytest.mark.parametrize("path", ["/v1/sweeps/nobody", "/v1/sweeps/nobody/cancel"])
def test_what_is_not_there_is_a_404(client: TestClient, path: str) -> None:
    answer = client.post(path) if path.endswith("cancel") else client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_one_seed_is_drawn_for_the_whole_sweep_where_none_is_named(client: TestClient, desk: SweepDesk) -> None:
    """Else two settings would differ in their luck as well."""
    client.put("/v1/sweeps/mine", json={"pipelines": ["bright"], "over": {"frames": [1, 2]}})
    runs = [desk.store.sweeps.run_of("mine", position) for position in (0, 1)]
    assert runs[0].inputs["seed"] == runs[1].inputs["seed"]
    assert {run.seed_origin for run in runs} == {"drawn"}


def test_several_pipelines_get_one_seed_and_none_its_best(client: TestClient, desk: SweepDesk) -> None:
    desk.plans["dim"] = dataclasses.replace(desk.plans["bright"], name="dim")
    desk.optimal["bright"] = OptimalSeed(seed=7)
    client.put("/v1/sweeps/mine", json={"pipelines": ["bright", "dim"], "over": {"frames": [1, 2]}})
    runs = [desk.store.sweeps.run_of("mine", position) for position in range(4)]
    assert {run.pipeline for run in runs} == {"bright", "dim"}
    assert len({run.inputs["seed"] for run in runs}) == 1
    assert {run.seed_origin for run in runs} == {"drawn"}


def test_a_budget_without_prices_is_refused_once_for_each_pipeline(client: TestClient, desk: SweepDesk) -> None:
    desk.is_priced = False
    answer = client.put("/v1/sweeps/mine", json=SEEDS)
    assert (answer.status_code, answer.json()["field"]) == (422, "policy.budget_usd")
    assert client.get("/v1/sweeps").json()["sweeps"] == []
    assert desk.asked == ["bright"]
    desk.is_priced = True
    client.put("/v1/sweeps/mine", json=SEEDS)
    desk.is_priced = False
    assert client.put("/v1/sweeps/mine", json=SEEDS).status_code == 200, "it was admitted when it was new"


def test_what_a_run_would_not_be_admitted_with_is_refused_by_its_axis_and_looked_at_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def refuse(bound: Bound) -> None:
        looked.append(bound.plan.name)
        if len(looked) > 1:
            raise Unknown("inputs.seed", "film-v9")

    monkeypatch.setattr(sweeps, "admit", refuse)
    assert client.put("/v1/sweeps/good", json=SEEDS).status_code == 202
    assert looked == ["bright"], "three cells of no adapter are one case"
    answer = client.put("/v1/sweeps/bad", json=SEEDS)
    assert (answer.status_code, answer.json()["field"]) == (422, "over.seed")
    assert [each["id"] for each in client.get("/v1/sweeps").json()["sweeps"]] == ["good"]


def test_the_document_describes_the_body(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/sweeps"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "over" in document["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]


def test_the_same_key_is_the_same_sweep(tmp_path: Path) -> None:
    with TestClient(make_api(SweepDesk(tmp_path))) as client:
        key = {"Idempotency-Key": "mine"}
        first, again = (client.post("/v1/sweeps", json=SEEDS, headers=key) for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 200)
        assert first.json()["id"] == again.json()["id"]
        other = client.post("/v1/sweeps", json={**SEEDS, "over": {"seed": [1]}}, headers=key)
        assert other.status_code == 409
        assert client.post("/v1/sweeps", json=SEEDS, headers={"Idempotency-Key": ""}).status_code == 422
