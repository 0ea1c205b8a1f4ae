"""Sweeps over Serve: the runners keep the cells coming, without a client, and across the death of a runner."""

from __future__ import annotations

from typing import Any

from serve_app.commands.client import Client
from serve_app.commands.sweeping import RemoteSweeps, with_files
from serve_app.runs.sweep import SweepSpec
from serve_app.runs.sweep_model import new_sweep_id
from tests.serve.conftest import PHOTO, wait_until
from tests.serve.processes import kill_replicas

SMALL = {"prompt": "push in", "image": PHOTO, "frames": 5}


def start(app: str, **fields: Any) -> tuple[RemoteSweeps, str]:
    """Submit a sweep of the pipeline `photo`; return whom to ask, and its id."""
    spec = SweepSpec(**{"pipelines": ("photo",), "inputs": SMALL, "score": "draft_score", **fields})
    sweeps, sweep_id = RemoteSweeps(app), new_sweep_id()
    sweeps.start(sweep_id, spec)
    return sweeps, sweep_id


def test_a_sweep_is_worked_through_within_its_bound_and_finds_the_planted_best(app: str) -> None:
    sweeps, sweep_id = start(app, over={"seed": (1, 2, 3), "strength": (0.05, 1.0)}, concurrency=2)
    most = 0

    def has_ended() -> bool:
        nonlocal most
        counts = sweeps.look(sweep_id)["counts"]
        most = max(most, counts.get("queued", 0) + counts.get("running", 0))
        return bool(sweeps.look(sweep_id)["state"] == "finished")

    wait_until(has_ended, 120)
    view = sweeps.look(sweep_id)
    sweeps.close()
    assert 1 <= most <= 2
    assert all(cell["points"] is not None for cell in view["cells"])
    table = next(table for table in view["tables"] if table["axis"] == "strength")
    assert table["best"] == "0.05", "the less the camera moves, the closer the clip stays to its photo"
    assert table["margins"]["1.0"]["n"] == 3


def test_a_sweep_goes_on_after_its_runner_died_and_repeats_nothing(app: str, client: Client) -> None:
    sweeps, sweep_id = start(app, over={"seed": (11, 12, 13, 14)}, concurrency=1)
    wait_until(lambda: any(cell["points"] is not None for cell in sweeps.look(sweep_id)["cells"]), 60)
    done = [cell for cell in sweeps.look(sweep_id)["cells"] if cell["points"] is not None]
    kill_replicas("runner")
    wait_until(lambda: sweeps.look(sweep_id)["state"] == "finished", 120)
    view = sweeps.look(sweep_id)
    assert view["counts"] == {"succeeded": 4}
    assert [cell for cell in view["cells"] if cell in done] == done
    for cell in view["cells"]:
        assert client.report(cell["run_id"])["seed_origin"] == "caller"
    sweeps.start(sweep_id, SweepSpec.model_validate({"pipelines": ("photo",), "over": {"seed": (1, 2)}}))
    assert sweeps.look(sweep_id)["size"] == 4, "following it again starts nothing"
    sweeps.close()


def test_a_cancelled_sweep_stops_its_runs(app: str, client: Client) -> None:
    long = {"prompt": "sway", "image": PHOTO, "frames": 400}
    spec = {"pipelines": ("long",), "over": {"seed": (1, 2, 3)}, "inputs": long, "score": "score", "concurrency": 1}
    sweeps, sweep_id = RemoteSweeps(app), new_sweep_id()
    sweeps.start(sweep_id, SweepSpec.model_validate(spec))
    wait_until(lambda: sweeps.look(sweep_id)["counts"].get("running") == 1, 60)
    client.ask("POST", f"/v1/sweeps/{sweep_id}/cancel")
    wait_until(lambda: sweeps.look(sweep_id)["state"] == "cancelled", 60)
    assert sweeps.look(sweep_id)["counts"] == {"cancelled": 1, "waiting": 2}
    sweeps.close()


def test_a_sweep_is_sent_as_json_with_its_pictures_inside() -> None:
    spec = SweepSpec.model_validate({"pipelines": ("p",), "over": {"image": (PHOTO,)}})
    assert with_files(spec, lambda path: path.name)["over"] == {"image": [PHOTO.name]}
