"""`greenlight run` as a person calls it, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest
import yaml

from serve_app.__main__ import main
from serve_app.commands.profile import PROFILES
from serve_app.commands.run import REJECTED_EXIT, parse_inputs
from serve_app.core.errors import InvalidInput

PHOTO = PROFILES / "demo.jpg"
SMALL = Path(__file__).parent / "serve" / "pipelines" / "photo.yaml"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the folders go; what else is kept, such as artifacts, goes beside it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Return a profile that serves a pipeline small enough to wait for."""
    path = tmp_path / "profile.yaml"
    application = {"import_path": "serve_app.app:build", "args": {"pipelines": [str(SMALL)]}}
    path.write_text(yaml.safe_dump({"applications": [application]}))
    return path


def run_small(profile: Path, out: Path, *more: str) -> int:
    inputs = ["-i", f"image=@{PHOTO}", "-i", "prompt=push in", "-i", "seed=1"]
    return main(["run", "photo", "--local", "--profile", str(profile), "--out", str(out), *inputs, *more])


def only_folder(out: Path) -> dict[str, Path]:
    (folder,) = out.iterdir()
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.slow
def test_a_photo_becomes_a_folder_with_the_clip_its_sheet_and_its_report(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = ["-i", f"image=@{PHOTO}", "-i", "prompt=a slow push in", "-i", "seed=7", "-i", "num_frames=9"]
    assert main(["run", "animatic-fidelity", "--local", "--out", str(out), *inputs]) == 0
    files = only_folder(out)
    assert files.keys() == {"video.mp4", "sheet.png", "report.json"}
    with av.open(str(files["video.mp4"])) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (960, 540, 9)
    report: dict[str, Any] = json.loads(files["report.json"].read_text())
    assert (report["state"], report["attempts"][0]["seed"]) == ("succeeded", 7)
    said = capsys.readouterr().out
    assert "verdict  pass" in said
    assert str(files["video.mp4"]) in said


def test_a_rejected_run_leaves_its_evidence_and_ends_with_three(
    out: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = ["-i", "ok_below=0.001", "-i", "warn_below=0.002", "--policy", '{"attempts": 2}']
    assert run_small(profile, out, *strict) == REJECTED_EXIT
    files = only_folder(out)
    assert files.keys() == {"sheet.png", "report.json"}
    assert len(json.loads(files["report.json"].read_text())["attempts"]) == 2
    assert "rejected at gate: fidelity in " in capsys.readouterr().out


def test_two_runs_have_a_folder_each(out: Path, profile: Path) -> None:
    assert run_small(profile, out) == run_small(profile, out) == 0
    assert len(list(out.iterdir())) == 2


def test_a_local_run_is_not_in_the_store_of_a_server_that_lives_in_the_same_directory(out: Path, profile: Path) -> None:
    assert run_small(profile, out) == 0
    kept = {path.name for path in (out.parent / ".greenlight").iterdir()}
    assert "artifacts" in kept
    assert "runs.db" not in kept


def test_a_run_that_fails_says_why_and_ends_with_one(
    out: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_small(profile, out, "--policy", '{"budget_s": 0.001}') == 1
    assert "failed: budget_s of 0.001 is spent" in capsys.readouterr().out
    assert only_folder(out).keys() == {"report.json"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["-i", "frames=0"], "inputs.frames: "),
        (["-i", "colour=red"], "inputs.colour: there is no 'colour'"),
        (["--policy", '{"attempts": 0}'], "policy.attempts: "),
        (["--policy", "[1]"], "--policy: is a JSON object"),
        (["--policy", "{"], "--policy: is not JSON"),
        (["-i", "image=@nowhere.png"], "inputs.image: is given twice"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_no_folder(
    out: Path, profile: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_small(profile, out, *more) == 1
    assert words in capsys.readouterr().err.splitlines()[0]
    assert not out.exists()


def test_a_pipeline_that_no_profile_serves_is_answered_with_the_nearest(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "animatic-fidelty", "--local", "--out", str(out)]) == 1
    assert "did you mean animatic-fidelity" in capsys.readouterr().err


def test_numbers_and_truths_are_json_and_all_else_is_text() -> None:
    given = ["frames=9", "strength=0.5", "loop=true", "prompt=a = b", "name=[1]", "empty=", "word=null"]
    assert parse_inputs(given) == {
        "frames": 9,
        "strength": 0.5,
        "loop": True,
        "prompt": "a = b",
        "name": "[1]",
        "empty": "",
        "word": "null",
    }


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_that_can_be_sent_is_text(word: str) -> None:
    assert parse_inputs([f"prompt={word}"]) == {"prompt": word}


def test_a_file_is_a_path() -> None:
    assert parse_inputs([f"image=@{PHOTO}"]) == {"image": PHOTO}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["prompt"], "prompt: is not NAME=VALUE"),
        (["=x"], "=x: is not NAME=VALUE"),
        (["a=1", "a=2"], "inputs.a: is given twice"),
        (["image=@nowhere.png"], "inputs.image: there is no file nowhere.png"),
    ],
)
def test_a_bad_pair_is_refused_by_its_name(given: list[str], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_inputs(given)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--local", "--url", "http://127.0.0.1:8000"], "--url: has no effect with --local"),
        (["--profile", "mine.yaml"], "--profile: has an effect with --local only"),
        (["--url", "localhost"], "--url: 'localhost' is no address like "),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    out: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "photo", "--out", str(out), *more]) == 1
    assert words in capsys.readouterr().err.splitlines()[0]


def test_a_folder_that_cannot_be_made_is_refused_before_the_run(
    tmp_path: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run_small(profile, tmp_path / "file" / "outputs") == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"greenlight: --out: {tmp_path / 'file'} is not a directory")
    assert said.out == ""


def test_without_a_server_the_hint_says_how_to_get_one(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "photo", "--url", "http://127.0.0.1:9", "--out", str(out)]) == 1
    assert "make serve" in capsys.readouterr().err.splitlines()[1]


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ("upscale.edsr", "deployments.0"),
        ({"nam": "upscale.edsr"}, "deployments.0.name"),
        ({"name": "upscale.edsr", "ray_actor_options": ["a"]}, "deployments.0.ray_actor_options"),
        (
            {"name": "upscale.edsr", "ray_actor_options": {"num_cpus": "two"}},
            "deployments.0.ray_actor_options.num_cpus",
        ),
    ],
)
def test_a_bad_entry_of_a_profile_is_refused_by_its_path(
    out: Path, profile: Path, entry: Any, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    document = yaml.safe_load(profile.read_text())
    document["applications"][0]["deployments"] = [entry]
    profile.write_text(yaml.safe_dump(document))
    assert run_small(profile, out) == 1
    assert capsys.readouterr().err.startswith(f"greenlight: {profile}: {where}: ")


def test_a_text_that_looks_like_a_number_is_quoted() -> None:
    assert parse_inputs(['prompt="5"', "frames=5"]) == {"prompt": "5", "frames": 5}
