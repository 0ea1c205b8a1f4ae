"""`greenlight sweep` and `greenlight compare` as a person calls them, in this process."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.__main__ import main
from serve_app.commands.compare import settings_of
from serve_app.commands.optimal import winners
from serve_app.commands.profile import PROFILES
from serve_app.commands.sweep import NO_WINNER_EXIT
from serve_app.commands.sweep_file import Note, Place, checked_spec, parse_spec
from serve_app.commands.sweep_report import page
from serve_app.commands.sweeping import LocalSweeps
from serve_app.config import AppConfig
from serve_app.core.errors import InvalidInput
from serve_app.core.optimal_seeds import read_seeds

PHOTO = PROFILES / "demo.jpg"
SMALL = Path(__file__).parent / "serve" / "pipelines" / "photo.yaml"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the folders go; what else is kept, such as artifacts, goes beside it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Return a profile with a pipeline small enough to wait for: two frames, and no judge but the first."""
    document = yaml.safe_load(SMALL.read_text())
    document["nodes"] = {name: node for name, node in document["nodes"].items() if name in ("draft", "judge", "gate")}
    document["nodes"]["encode"] = {"use": "encode.video", "take": {"clip": "gate"}}
    document["outputs"] = {"video": "encode", "score": "judge"}
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(document, sort_keys=False))
    path = tmp_path / "profile.yaml"
    application = {"import_path": "serve_app.app:build", "args": {"pipelines": [str(small)]}}
    path.write_text(yaml.safe_dump({"applications": [application]}))
    return path


def sweep(profile: Path, out: Path, *more: str) -> int:
    given = ["-i", f"image=@{PHOTO}", "-i", "prompt=push in", "-i", "frames=2"]
    return main(
        ["sweep", "--pipeline", "photo", "--local", "--profile", str(profile), "--out", str(out), *given, *more]
    )


def only_folder(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


def report_in(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((only_folder(out) / "report.json").read_text())
    return document


def test_a_sweep_leaves_its_reports_and_says_what_it_found(
    out: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(profile, out, "--over", "seed=1,2", "--over", "strength=0.2,0.9") == 0
    folder = only_folder(out)
    assert {path.name for path in folder.iterdir()} >= {"report.json", "report.txt", "report.html", "sweep.json"}
    report = report_in(out)
    assert (report["state"], report["counts"], len(report["tables"])) == ("finished", {"succeeded": 4}, 2)
    assert [cell["axes"] for cell in report["cells"]][1] == {"seed": 1, "strength": 0.9}
    said = capsys.readouterr().out
    assert said.count(" points, ") == 4
    assert "no winner: too few pairs (2)" in said
    assert (folder / "report.txt").read_text().strip() in said


def test_a_seed_that_has_not_won_is_not_saved(out: Path, profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = out.parent / "seeds.json"
    assert sweep(profile, out, "--over", "seed=1,2", "--save-optimal", str(table)) == NO_WINNER_EXIT
    assert not table.exists()
    assert "nothing saved for photo: no winner" in capsys.readouterr().out


def test_a_comparison_is_of_pairs_on_the_same_seeds(out: Path, profile: Path) -> None:
    inputs = ["-i", f"image=@{PHOTO}", "-i", "prompt=push in", "-i", "frames=2"]
    settings = ["--a", "strength=0.1", "--b", "strength=1", "--seeds", "3"]
    assert main(["compare", "photo", "--local", "--profile", str(profile), "--out", str(out), *settings, *inputs]) == 0
    report = report_in(out)
    assert (report["a"], report["b"]) == ("strength=0.1", "strength=1")
    difference = report["b_minus_a"]
    assert difference["points"]["n"] == 3
    points = {(cell["axes"]["variant"], cell["axes"]["seed"]): cell["points"] for cell in report["cells"]}
    wanted = sum(points["strength=1", seed] - points["strength=0.1", seed] for seed in (1, 2, 3)) / 3
    assert difference["points"]["mean"] == pytest.approx(wanted, abs=1e-5)
    assert difference.keys() == {"points", "seconds", "usd"}


def test_a_sweep_that_was_broken_off_goes_on_where_it_was(out: Path, profile: Path) -> None:
    """The process is gone after the first cell; the folder alone knows of the rest."""
    config = AppConfig(pipelines=(str(profile.parent / "small.yaml"),), directory=out.parent / "elsewhere")
    spec = checked_spec(
        {
            "pipelines": ("photo",),
            "over": {"seed": (1, 2, 3)},
            "inputs": {"image": PHOTO, "prompt": "push in", "frames": 2},
            "concurrency": 1,
        }
    )
    folder = out / "20260131_120000"
    folder.mkdir(parents=True)
    first = LocalSweeps(config, {}, folder)
    first.start("sweep-1", spec)
    Note("sweep-1", spec, Place(None, str(profile))).write(folder)
    while not any(cell["points"] is not None for cell in first.look("sweep-1")["cells"]):
        pass
    first.close()
    again = LocalSweeps(config, {}, folder)
    done = {cell["run_id"]: cell for cell in again.look("sweep-1")["cells"] if cell["points"] is not None}
    again.close()
    assert 1 <= len(done) < 3
    assert main(["sweep", "--resume", str(folder)]) == 0
    cells = {cell["run_id"]: cell for cell in json.loads((folder / "report.json").read_text())["cells"]}
    assert {run_id: cells[run_id] for run_id in done} == done, "what was done is not done again"
    assert all(cell["points"] is not None for cell in cells.values())


def test_a_file_says_the_same_as_the_options(out: Path, profile: Path) -> None:
    file = out.parent / "mine.yaml"
    (out.parent / "photo.jpg").write_bytes(PHOTO.read_bytes())
    sweep_file = {
        "pipelines": ["photo"],
        "variants": {"slow": {"strength": 0.1}, "fast": {"strength": 0.9}},
        "inputs": {"image": "@photo.jpg", "prompt": "push in", "frames": 2, "seed": 1},
        "concurrency": 1,
    }
    file.write_text(yaml.safe_dump(sweep_file, sort_keys=False))
    assert main(["sweep", str(file), "--local", "--profile", str(profile), "--out", str(out)]) == 0
    assert [cell["axes"] for cell in report_in(out)["cells"]] == [{"variant": "slow"}, {"variant": "fast"}]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "over: a sweep varies something"),
        (["--over", "seed"], "--over: 'seed' is not NAME=VALUE,VALUE"),
        (["--over", "seed=1,2", "--over", "seed=3"], "over.seed: is given twice"),
        (["--over", "seed=1,x"], "over.seed: "),
        (["--over", "seed=[1"], "over.seed: is not a JSON list"),
        (["--over", "sed=1,2"], "over.sed: there is no 'sed'; did you mean seed?"),
        (["--over", "seed=1,2", "--max-cells", "1"], "max_cells: the grid has 2 cells, and the cap is 1"),
        (["--over", "seed=1,2", "--concurrency", "0"], "concurrency: "),
        (["--over", "image=@nowhere.png,@there.png"], "inputs.image: there is no file nowhere.png"),
        (["--over", "seed=1,2", "--score", "video"], "score: photo gives no score called video"),
        (["--over", "strength=0.1,0.9", "--save-optimal", "x.json"], "--save-optimal: the sweep has no axis"),
        (["--over", "seed=1,2", "--url", "http://127.0.0.1:1"], "--url: has no effect with --local"),
        (["--over", "seed=1,2", "--resume", "nowhere"], "pipelines: the folder to resume has it already"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_no_folder(
    out: Path, profile: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(profile, out, *more) == 1
    assert words in capsys.readouterr().err.splitlines()[0].removeprefix("greenlight: ")
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--adapter", "film@0.65"], "--adapter: photo takes no adapter; its inputs are prompt, image"),
        (["--adapter", "film@0.65", "--b", "frames=3"], "--adapter: is a comparison by itself"),
        ([], "--b: say what to compare"),
        (["--a", "frames=3", "--b", "frames=3"], "--b: is the same as --a"),
        (["--b", "frames=3", "--seeds", "0"], "--seeds: 0 is not within 1..200"),
        (["--b", "frames=3", "-i", "frames=9"], "sweep: variants.frames=3.frames: it is given elsewhere already"),
    ],
)
def test_a_comparison_that_is_none_is_refused(
    out: Path, profile: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "photo", "--local", "--profile", str(profile), "--out", str(out), *more]) == 1
    assert words in capsys.readouterr().err.splitlines()[0]
    assert not out.exists() or not list(out.iterdir())


def test_an_adapter_is_compared_with_its_absence_under_the_pipelines_own_name_for_it() -> None:
    pipeline = {"name": "p", "inputs": {"prompt": {"type": "text"}, "style": {"type": "adapter"}}}
    arguments = argparse.Namespace(adapter="film-v2@0.65", a=[], b=[])
    assert settings_of(arguments, pipeline) == (("without", {}), ("film-v2@0.65", {"style": "film-v2@0.65"}))


def test_a_folder_without_a_sweep_cannot_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--resume", str(tmp_path)]) == 1
    assert "holds no sweep" in capsys.readouterr().err


def view_of(points: dict[tuple[str, int], float]) -> dict[str, Any]:
    """Return a finished sweep's view, of one model and judge, with these points by prompt and seed."""
    result = {"verdict": "pass", "is_accepted": True, "seconds": 1.0, "usd": 0.1, "judge": "fidelity", "model": "m"}
    cells = [
        {"run_id": f"{p}-{s}", "pipeline": "photo", "axes": {"prompt": p, "seed": s}, "state": "succeeded", "points": x}
        | {**result, "error": None}
        for (p, s), x in points.items()
    ]
    return {"id": "s", "state": "finished", "finished_at": "2026-01-31T10:00:00Z", "cells": cells}


def test_a_seed_that_won_is_saved_with_how_it_was_found() -> None:
    wobble = dict(zip("abcd", (0.0, 0.4, -0.3, 0.2), strict=True))
    points = {(p, s): 60 + 20 * i + (9 + wobble[p] if s == 7 else 0) for i, p in enumerate("abcd") for s in (1, 7)}
    seeds, reasons = winners(view_of(points), {"photo": "seed"})
    assert reasons == {}
    assert seeds["photo"].seed == 7
    assert seeds["photo"].is_measured
    assert seeds["photo"].provenance == (
        "measured n=4 on 2026-01-31: model m, judge fidelity, mean 99.1, 9.1 ahead of the next of 1 others"
    )


def test_a_table_that_a_sweep_wrote_is_what_the_configuration_reads(tmp_path: Path) -> None:
    from serve_app.core.optimal_seeds import OptimalSeed, write_seeds

    path = tmp_path / "seeds.json"
    write_seeds(path, {"photo": OptimalSeed(seed=7, provenance="measured n=4 on 2026-01-31: x")})
    write_seeds(path, {"other": OptimalSeed(seed=9)})
    assert {name: each.seed for name, each in read_seeds(path).items()} == {"photo": 7, "other": 9}


def test_text_that_looks_like_markup_stays_text_in_the_page() -> None:
    view = view_of({("<b>", 1): 1.0}) | {"counts": {}, "usd": None, "seconds": 0.0, "size": 1, "tables": []}
    assert "<b>" not in page({**view, "ladder": None})


def test_a_value_at_fault_in_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"over\.seed: is a list of values"):
        parse_spec({"pipelines": ["p"], "over": {"seed": 3}}, tmp_path)
    with pytest.raises(InvalidInput, match="inputs: is a mapping"):
        parse_spec({"pipelines": ["p"], "inputs": [3]}, tmp_path)
