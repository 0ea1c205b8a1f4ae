"""The service behind the API, on a real SQLite file, a real directory and the shipped pipeline. No Ray."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from serve_app.config import AppConfig, LimitsConfig, plans_of
from serve_app.core.artifact import Artifact
from serve_app.core.errors import Busy, Conflict, InvalidInput, InvalidPicture, TooLarge, Unknown
from serve_app.http.service import ListQuery, Submission, Upload
from serve_app.runs.model import Run, RunState
from serve_app.serving import service
from serve_app.serving.service import RunService
from serve_app.serving.stores import open_artifacts, open_store

PIPELINE = "animatic-fidelity"


class Home:
    """A service and what it stands on."""

    def __init__(self, root: Path, pipeline: str = PIPELINE, **limits: Any) -> None:
        self.config = AppConfig(pipelines=(pipeline,), directory=root, limits=LimitsConfig(**limits))
        self.store, self.artifacts = open_store(self.config), open_artifacts(self.config)
        self.service = RunService(self.store, self.artifacts, plans_of(self.config), self.config)

    def submit(
        self, run_id: str | None = None, policy: dict[str, Any] | None = None, **inputs: Any
    ) -> tuple[Run, bool]:
        given = {"prompt": "push in", "image": Upload(picture(), "photo.png"), **inputs}
        (name,) = (pipeline["name"] for pipeline in self.service.pipelines())
        return asyncio.run(self.service.submit(run_id, Submission(name, given, policy or {})))

    def artifact(self, run_id: str, name: str) -> tuple[Artifact, bytes]:
        artifact, path = asyncio.run(self.service.artifact(run_id, name))
        return artifact, path.read_bytes()

    def finish(self, run_id: str, state: RunState, report: dict[str, Any] | None) -> None:
        """End a run as its runner would."""
        assert self.store.claim("runner", 60.0, 3) is not None
        assert self.store.finish(run_id, "runner", state, report, None)

    def files(self) -> list[Path]:
        return [path for path in self.config.artifacts_path.rglob("*") if path.is_file()]


def picture(side: int = 16) -> bytes:
    data = io.BytesIO()
    PIL.Image.new("RGB", (side, side), "teal").save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_run_is_recorded_with_its_defaults_and_its_picture_as_it_was_sent(home: Home) -> None:
    run, is_new = home.submit(frames=9)
    assert is_new
    assert run.state is RunState.QUEUED
    assert (run.inputs["frames"], run.inputs["fps"]) == (9, 24)
    stored = Artifact.from_json(run.inputs["image"])
    assert home.artifacts.path_of(stored.digest).read_bytes() == picture()
    assert (stored.media_type, stored.facts) == ("image/png", {"width": 16, "height": 16})


def test_a_seed_is_drawn_and_a_repeated_put_draws_the_same(home: Home) -> None:
    first, _ = home.submit("mine")
    again, is_new = home.submit("mine")
    assert not is_new
    assert first.inputs["seed"] == again.inputs["seed"]
    assert 0 <= first.inputs["seed"] < 2**32
    other, _ = home.submit("another")
    assert other.inputs["seed"] != first.inputs["seed"]


def test_a_seed_that_was_given_stays(home: Home) -> None:
    run, _ = home.submit(seed=0)
    assert run.inputs["seed"] == 0


def test_another_request_under_the_same_id_is_a_conflict(home: Home) -> None:
    home.submit("mine", seed=1)
    with pytest.raises(Conflict):
        home.submit("mine", seed=2)


def test_the_policy_is_the_pipelines_with_the_requests_changes(home: Home) -> None:
    run, _ = home.submit(policy={"attempts": 1, "keep": "best"})
    given = {name: value for name, value in run.policy.items() if value is not None}
    assert given == {"attempts": 1, "vary": "seed", "budget_s": 300, "keep": "best"}


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"attempts": 0}, "policy.attempts"),
        ({"attempts": "2"}, "policy.attempts"),
        ({"attempts": True}, "policy.attempts"),
        ({"tries": 3}, "policy.tries"),
        ({"keep": 1}, "policy.keep"),
    ],
)
def test_a_bad_policy_is_refused_by_its_field(home: Home, policy: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        home.submit(policy=policy)
    assert caught.value.field == field


SEEDLESS = """
version: 1
name: seedless
inputs: {prompt: text, image: image, variant: {type: integer, default: 3}}
nodes:
  draft: {use: generate.animatic, with: {frames: 9}, take: {prompt: $prompt, seed: $variant, image: $image}}
  file: {use: encode.video, take: {clip: draft}}
outputs: {video: file}
"""


def test_attempts_that_could_not_differ_are_refused(tmp_path: Path) -> None:
    (tmp_path / "seedless.yaml").write_text(SEEDLESS)
    home = Home(tmp_path, pipeline=str(tmp_path / "seedless.yaml"))
    with pytest.raises(InvalidInput, match=r"policy\.vary: attempts cannot differ in their seed"):
        home.submit(policy={"attempts": 2})
    home.submit(policy={"attempts": 2, "vary": "nothing"})


@pytest.mark.parametrize(
    ("upload", "error"),
    [
        (b"", InvalidPicture),
        (b"GIF89a", InvalidPicture),
        (picture()[:-8], InvalidPicture),
        (picture(side=80), TooLarge),
        (picture() + b"\0" * 2048, TooLarge),
    ],
    ids=["empty", "another format", "truncated", "too many pixels", "too many bytes"],
)
def test_a_bad_picture_is_refused_before_anything_is_recorded(
    tmp_path: Path, upload: bytes, error: type[Exception]
) -> None:
    home = Home(tmp_path, picture_px=4096, upload_bytes=2048)
    with pytest.raises(error) as caught:
        home.submit(image=Upload(upload, "photo.png"))
    assert "inputs.image" in str(caught.value)
    assert asyncio.run(home.service.list(ListQuery())).runs == ()
    assert home.files() == []


def test_a_bad_input_is_refused_before_anything_is_recorded(home: Home) -> None:
    with pytest.raises(InvalidInput, match=r"inputs\.frames"):
        home.submit(frames=500)
    assert asyncio.run(home.service.list(ListQuery())).runs == ()


def test_a_pipeline_that_does_not_exist_is_answered_with_the_nearest(home: Home) -> None:
    with pytest.raises(Unknown, match="did you mean animatic-fidelity"):
        asyncio.run(home.service.submit(None, Submission("animatic-fidelty", {}, {})))


def test_a_full_queue_is_busy_and_says_when_to_come_again(tmp_path: Path) -> None:
    home = Home(tmp_path, queued_runs=1)
    home.submit("first")
    with pytest.raises(Busy) as caught:
        home.submit("second")
    assert caught.value.retry_after_s > 0
    assert home.submit("first")[1] is False, "what is recorded already needs no place"


def test_outputs_are_found_by_their_name_and_by_their_files(home: Home) -> None:
    run, _ = home.submit()
    video = home.artifacts.put_bytes(b"frames", "video/mp4", "clip.mp4", {})
    home.finish(run.id, RunState.SUCCEEDED, {"outputs": {"video": video.as_json()}, "evidence": {}})
    assert home.artifact(run.id, "video") == (video, b"frames")
    assert home.artifact(run.id, "clip.mp4") == (video, b"frames")
    with pytest.raises(Unknown, match="did you mean video"):
        home.artifact(run.id, "vido")


def test_an_outputs_name_goes_before_a_file_that_is_called_the_same(home: Home) -> None:
    run, _ = home.submit()
    first = home.artifacts.put_bytes(b"1", "text/plain", "second", {})
    second = home.artifacts.put_bytes(b"2", "text/plain", "third", {})
    outputs = {"first": first.as_json(), "second": second.as_json()}
    home.finish(run.id, RunState.SUCCEEDED, {"outputs": outputs, "evidence": {}})
    assert home.artifact(run.id, "second")[1] == b"2"


def test_a_rejected_run_shows_its_evidence(home: Home) -> None:
    run, _ = home.submit()
    sheet = home.artifacts.put_bytes(b"pixels", "image/png", "sheet.png", {})
    home.finish(run.id, RunState.REJECTED, {"outputs": {}, "evidence": {"sheet": sheet.as_json()}})
    assert home.artifact(run.id, "sheet.png") == (sheet, b"pixels")


def test_the_report_is_an_artifact_too(home: Home) -> None:
    run, _ = home.submit()
    with pytest.raises(Unknown):
        home.artifact(run.id, "report.json")
    report = {"outputs": {}, "evidence": {}, "pipeline": PIPELINE}
    home.finish(run.id, RunState.REJECTED, report)
    artifact, data = home.artifact(run.id, "report.json")
    assert artifact.media_type == "application/json"
    assert json.loads(data) == report


def test_a_queued_run_is_cancelled_at_once_and_cancelling_it_again_changes_nothing(home: Home) -> None:
    run, _ = home.submit()
    assert asyncio.run(home.service.cancel(run.id)).state is RunState.CANCELLED
    assert asyncio.run(home.service.cancel(run.id)).state is RunState.CANCELLED


def test_a_run_at_work_is_asked_to_stop(home: Home) -> None:
    run, _ = home.submit()
    home.store.claim("runner", 60.0, 3)
    asked = asyncio.run(home.service.cancel(run.id))
    assert (asked.state, asked.is_cancel_requested) == (RunState.RUNNING, True)


def test_a_run_that_has_ended_cannot_be_cancelled(home: Home) -> None:
    run, _ = home.submit()
    home.finish(run.id, RunState.SUCCEEDED, None)
    with pytest.raises(Conflict, match="succeeded"):
        asyncio.run(home.service.cancel(run.id))


def test_the_house_is_ready_when_a_runner_has_been_heard(home: Home) -> None:
    health = asyncio.run(home.service.health())
    assert (health["is_ready"], health["reasons"]) == (False, ["no runner has given a heartbeat yet"])
    home.store.heartbeat("runner-1", "runner")
    home.submit()
    health = asyncio.run(home.service.health())
    assert (health["is_ready"], health["runners"], health["runs"]["queued"]) == (True, 1, 1)


def test_a_pipeline_is_shown_with_its_inputs_steps_and_drawing(home: Home) -> None:
    (shown,) = home.service.pipelines()
    assert shown["name"] == PIPELINE
    assert shown["inputs"]["frames"]["aliases"] == ["num_frames", "length"]
    assert (shown["inputs"]["prompt"]["required"], shown["inputs"]["seed"]["required"]) == (True, False)
    assert shown["outputs"] == ["video", "sheet", "draft_score", "score"]
    assert shown["diagram"].startswith("flowchart LR")
    json.dumps(shown)


def test_a_repetition_is_recognised_before_it_could_be_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = home.submit("mine")

    def refuse(*_: Any) -> None:
        raise InvalidInput("policy.budget_usd", "it has no price any more")

    monkeypatch.setattr(service, "check_priced", refuse)
    monkeypatch.setattr(service, "admit", refuse)
    again, is_new = home.submit("mine")
    assert (again.id, is_new) == (first.id, False)
    with pytest.raises(Conflict):
        home.submit("mine", seed=2)
    with pytest.raises(InvalidInput, match="no price"):
        home.submit("another")
