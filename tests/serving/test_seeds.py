"""Whose seed a run starts with, and that the run says so."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from serve_app.config import AppConfig, plans_of, seeds_of
from serve_app.core.errors import Conflict, Misconfigured
from serve_app.core.optimal_seeds import OptimalSeed, write_seeds
from serve_app.graph.plan import Plan
from serve_app.http.service import Submission, Upload
from serve_app.runs.model import Run
from serve_app.serving.application import application_problems
from serve_app.serving.seeds import seeding
from serve_app.serving.service import RunService
from serve_app.serving.stores import at_home, open_artifacts, open_store
from tests.graph.stages import bright
from tests.serving.test_service import PIPELINE, picture

TABLE = {
    "bright": OptimalSeed(seed=7, provenance="measured n=5 on 2026-01-31: x"),
    "_default": OptimalSeed(seed=12345),
}


def with_default(plan: Plan, seed: int) -> Plan:
    spec = plan.inputs["seed"].model_copy(update={"default": seed})
    return dataclasses.replace(plan, inputs={**plan.inputs, "seed": spec})


@pytest.mark.parametrize(
    ("plan", "given", "table", "inputs", "origin"),
    [
        (bright(), {"seed": 0}, TABLE, {}, "caller"),
        (bright(), {}, TABLE, {"seed": 7}, "optimal: measured n=5 on 2026-01-31: x"),
        (bright(), {"seed": None}, TABLE, {"seed": 7}, "optimal: measured n=5 on 2026-01-31: x"),
        (bright(), {}, {"_default": TABLE["_default"]}, {"seed": 12345}, "optimal: unmeasured"),
        (with_default(bright(), 3), {}, {"_default": TABLE["_default"]}, {}, "the pipeline's default"),
        (with_default(bright(), 3), {}, TABLE, {"seed": 7}, "optimal: measured n=5 on 2026-01-31: x"),
        (bright(), {}, {"other": TABLE["bright"]}, {"seed": 1315296251}, "drawn"),
    ],
)
def test_the_callers_seed_wins_then_the_tables_then_the_pipelines_then_the_tables_default_then_luck(
    plan: Plan, given: dict[str, Any], table: dict[str, OptimalSeed], inputs: dict[str, int], origin: str
) -> None:
    found = seeding(plan, "run-1", given, table)
    assert (dict(found.inputs), found.origin) == (inputs, origin)


def submit(config: AppConfig, run_id: str | None = None, **inputs: Any) -> Run:
    service = RunService(open_store(config), open_artifacts(config), plans_of(config), config)
    given = {"prompt": "push in", "image": Upload(picture(), "photo.png"), **inputs}
    run, _ = asyncio.run(service.submit(run_id, Submission(PIPELINE, given, {})))
    return run


def test_a_run_without_a_seed_starts_with_its_pipelines_and_says_so(tmp_path: Path) -> None:
    config = AppConfig(pipelines=(PIPELINE,), directory=tmp_path, optimal_seeds={PIPELINE: TABLE["bright"]})
    run = submit(config)
    assert (run.inputs["seed"], run.seed_origin) == (7, "optimal: measured n=5 on 2026-01-31: x")
    assert submit(config, seed=7).seed_origin == "caller"


def test_a_repeated_put_is_the_same_run_although_the_table_has_changed(tmp_path: Path) -> None:
    first = submit(AppConfig(pipelines=(PIPELINE,), directory=tmp_path), "mine")
    changed = AppConfig(pipelines=(PIPELINE,), directory=tmp_path, optimal_seeds={PIPELINE: TABLE["bright"]})
    assert submit(changed, "mine") == first


def test_a_put_without_the_seed_that_the_first_one_named_is_another_request(tmp_path: Path) -> None:
    config = AppConfig(pipelines=(PIPELINE,), directory=tmp_path)
    submit(config, "mine", seed=5)
    with pytest.raises(Conflict):
        submit(config, "mine")


def test_a_table_in_a_file_is_read_wherever_the_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_seeds(Path("seeds.json"), TABLE)
    config = at_home(AppConfig.model_validate({"pipelines": [PIPELINE], "optimal_seeds": "seeds.json"}))
    monkeypatch.chdir("/")
    assert seeds_of(config) == TABLE


def test_check_finds_a_misspelt_entry_and_a_table_that_is_missing() -> None:
    args: dict[str, Any] = {"pipelines": [PIPELINE]}
    for seeds, words in (
        ({"_default": {"sed": 1}}, "optimal_seeds"),
        ({"_default": {"seed": 1, "provenance": "trust me"}}, "optimal_seeds"),
        ("nowhere.json", "nowhere.json"),
    ):
        found = [str(each) for each in application_problems({"args": {**args, "optimal_seeds": seeds}})]
        assert any(words in each for each in found), (seeds, found)


def test_a_table_that_is_none_is_a_misconfiguration_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "seeds.json").write_text(json.dumps({"photo": 7}))
    config = AppConfig(pipelines=(PIPELINE,), directory=tmp_path, optimal_seeds=tmp_path / "seeds.json")
    with pytest.raises(Misconfigured, match=r"seeds\.json"):
        seeds_of(config)


def test_a_repeated_put_keeps_its_seed_although_the_pipeline_has_got_a_default(tmp_path: Path) -> None:
    config = AppConfig(pipelines=(PIPELINE,), directory=tmp_path)
    first = submit(config, "mine")
    changed = {name: with_default(plan, 3) for name, plan in plans_of(config).items()}
    service = RunService(open_store(config), open_artifacts(config), changed, config)
    given = {"prompt": "push in", "image": Upload(picture(), "photo.png")}
    again, is_new = asyncio.run(service.submit("mine", Submission(PIPELINE, given, {})))
    assert (again, is_new) == (first, False)
