"""Another server as a generator: what it is told, what comes back, and that nothing is paid for twice."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deployments
from deployments.encode.video import VideoEncoder
from deployments.generate.remote import Remote
from serve_app.core.errors import Cancelled, InvalidInput, Misconfigured, StageFailed, Unavailable
from serve_app.core.media import Audio, Clip, Image
from serve_app.graph.plan import compile_plan, deployment_of
from serve_app.graph.run import Rules, walk
from serve_app.graph.spec import find_pipeline, parse_pipeline
from tests.deployments.desk import DeskContext
from tests.deployments.studio import Habits, Studio, studio
from tests.graph.stages import in_process
from tests.graph.test_run import Notes

PARAMS = Remote.Params(width=64, height=48, frames=9, fps=24)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return film_of(tmp_path_factory.mktemp("film"))


def film_of(root: Path, frames: int = 12, size: tuple[int, int] = (64, 80), fps: int = 24) -> bytes:
    desk, encoder = DeskContext(root), VideoEncoder()
    encoder.load(VideoEncoder.Weights(), desk)
    rows = np.linspace(0, 255, size[0] * size[1] * 3).reshape(*size, 3).astype(np.uint8)
    sound = Audio(np.zeros((2, 24000 * frames // fps), np.float32), 24000)
    clip = Clip(np.repeat(rows[None], frames, axis=0), Fraction(fps), "test", sound)
    made = encoder.run(VideoEncoder.Params(), clip=clip)
    return desk.artifacts.path_of(made.digest).read_bytes()


def loaded(
    root: Path, server: Studio, cancel_after: int | None = None, **weights: object
) -> tuple[Remote, DeskContext]:
    desk, stage = DeskContext(root, cancel_after=cancel_after), Remote()
    settings = {"url": server.url, "poll_s": 0.05, "answer_s": 2, "retries": 2, "usd_per_clip": 0.5, **weights}
    stage.load(Remote.Weights.model_validate(settings), desk)
    return stage, desk


def test_a_clip_comes_back_at_exactly_what_was_asked_for(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film)) as server:
        stage, desk = loaded(tmp_path, server)
        clip = stage.run(PARAMS, prompt="a fox", seed=7)
    assert (str(clip.shape), clip.fps, clip.model) == ("64x48x9", Fraction(24), "far-away-1")
    assert clip.audio is not None
    assert abs(clip.audio.duration_s - 9 / 24) < 0.001
    assert desk.notes["delivered"] == {"size": "80x64x12", "fps": "24"}


def test_the_server_is_told_all_of_it_under_its_own_names(tmp_path: Path, film: bytes) -> None:
    params = Remote.Params(width=64, height=48, frames=9, steps=8, guidance=2.5, negative_prompt="blur")
    with studio(Habits(film)) as server:
        loaded(tmp_path, server, model="wan2.6")[0].run(params, prompt="a fox", seed=7)
    assert server.bodies == [
        {
            "model": "wan2.6",
            "prompt": "a fox",
            "size": "64x48",
            "seconds": "0.375",
            "num_frames": "9",
            "fps": "24",
            "num_inference_steps": "8",
            "guidance_scale": "2.5",
            "negative_prompt": "blur",
            "seed": "7",
        }
    ]


def test_json_keeps_numbers_numbers(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film)) as server:
        loaded(tmp_path, server, body="json")[0].run(PARAMS, prompt="a fox", seed=7)
    assert (server.bodies[0]["num_frames"], server.bodies[0]["seed"]) == (9, 7)


def test_a_picture_goes_along_as_a_file(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film)) as server:
        picture = Image(np.zeros((10, 10, 3), np.uint8))
        loaded(tmp_path, server, body="json")[0].run(PARAMS, prompt="a fox", seed=7, image=picture)
    assert server.files == ["input_reference"]


def test_what_the_server_cannot_be_told_is_refused_before_anything_is_sent(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film)) as server:
        stage, _ = loaded(tmp_path, server, dialect="openai")
        with pytest.raises(InvalidInput, match="guidance: this server is not told of it"):
            stage.run(Remote.Params(guidance=3), prompt="a fox", seed=7)
    assert not server.bodies


def test_a_server_that_is_not_told_the_seed_is_warned_of(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film)) as server:
        stage, desk = loaded(tmp_path, server, dialect="openai")
        stage.run(PARAMS, prompt="a fox", seed=7)
    assert "not told the seed" in desk.warnings[0]


def test_the_shortest_length_that_the_server_makes_is_asked_for_and_cut(tmp_path: Path) -> None:
    film = film_of(tmp_path / "film", frames=48, fps=12)
    with studio(Habits(film)) as server:
        stage, _ = loaded(tmp_path, server, dialect="openai", seconds_choices=[8, 4, 12])
        clip = stage.run(Remote.Params(width=64, height=48, frames=40, fps=12), prompt="a fox", seed=7)
        assert server.bodies[0]["seconds"] == "4"
        assert clip.shape.frames == 40
        with pytest.raises(InvalidInput, match="the server makes 12 s"):
            stage.run(Remote.Params(frames=400, fps=12), prompt="a fox", seed=7)


def test_progress_is_the_servers_own_and_never_goes_back(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film)) as server:
        stage, desk = loaded(tmp_path, server)
        stage.run(PARAMS, prompt="a fox", seed=7)
    assert desk.steps == [(40, 100), (80, 100), (100, 100)]


def test_the_key_comes_from_its_file_and_is_in_no_report(tmp_path: Path, film: bytes) -> None:
    (tmp_path / "key").write_text("sk-secret\n")
    with studio(Habits(film)) as server:
        stage, desk = loaded(tmp_path, server, key_file=tmp_path / "key")
        stage.run(PARAMS, prompt="a fox", seed=7)
    assert server.secrets == ["Bearer sk-secret"]
    assert "sk-secret" not in str(desk.notes)


@pytest.mark.parametrize("text", [None, "", "two words"])
def test_a_key_file_without_a_key_is_refused_at_load(tmp_path: Path, film: bytes, text: str | None) -> None:
    if text is not None:
        (tmp_path / "key").write_text(text)
    with studio(Habits(film)) as server, pytest.raises(Misconfigured, match=r"weights\.key_file"):
        loaded(tmp_path, server, key_file=tmp_path / "key")


def test_a_wrong_key_is_the_configurations_fault(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, answers=[401])) as server, pytest.raises(Misconfigured, match=r"weights\.key_file"):
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)


def test_a_refusal_is_the_callers_and_names_the_servers_field(tmp_path: Path, film: bytes) -> None:
    with (
        studio(Habits(film, answers=[422])) as server,
        pytest.raises(InvalidInput, match="steps must be at most 50") as refused,
    ):
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)
    assert refused.value.field == "num_inference_steps"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(tmp_path: Path, film: bytes, status: int) -> None:
    with studio(Habits(film, answers=[status, status])) as server:
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)
    assert len(server.jobs) == 1
    assert len(server.bodies) == 3


def test_a_server_that_stays_busy_leaves_the_step_to_be_tried_again(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, answers=[503] * 9)) as server:
        stage, desk = loaded(tmp_path, server)
        with pytest.raises(Unavailable):
            stage.run(PARAMS, prompt="a fox", seed=7)
        server.habits.answers.clear()
        stage.run(PARAMS, prompt="a fox", seed=7)
    assert len(server.jobs) == 1
    assert len(desk.charges) == 1


def test_a_server_that_is_not_there_leaves_the_step_to_be_tried_again(tmp_path: Path) -> None:
    with studio(Habits()) as server:
        pass
    with pytest.raises(Unavailable, match="cannot be reached"):
        loaded(tmp_path, server, retries=0)[0].run(PARAMS, prompt="a fox", seed=7)


@pytest.mark.parametrize("status", [0, 500, 502])
def test_a_request_that_may_have_been_taken_is_not_sent_twice(tmp_path: Path, film: bytes, status: int) -> None:
    with studio(Habits(film, answers=[status])) as server:
        stage, _ = loaded(tmp_path, server)
        with pytest.raises(StageFailed, match="may cost a second time"):
            stage.run(PARAMS, prompt="a fox", seed=7)
        assert len(server.bodies) == 1


def test_nor_by_a_replica_that_takes_over(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, answers=[0])) as server:
        with pytest.raises(StageFailed):
            loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)
        with pytest.raises(StageFailed, match="its answer never came"):
            loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)
        assert len(server.jobs) == 1


def test_another_seed_is_another_request(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, answers=[0])) as server:
        with pytest.raises(StageFailed):
            loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=8)
    assert len(server.jobs) == 2


def test_a_server_that_honours_the_key_is_asked_again_and_makes_one_clip(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, answers=[0, 502], is_idempotent=True)) as server:
        stage, _ = loaded(tmp_path, server, honours_idempotency_key=True)
        stage.run(PARAMS, prompt="a fox", seed=7)
    assert (len(server.jobs), len(server.bodies), len(set(server.keys))) == (1, 3, 1)


def test_a_replica_that_takes_over_goes_on_with_the_job_that_is_under_way(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, is_mute=True)) as server:
        first, paid = loaded(tmp_path, server, retries=0)
        with pytest.raises(Unavailable):
            first.run(PARAMS, prompt="a fox", seed=7)
        server.habits.is_mute = False
        _, desk = second = loaded(tmp_path, server)
        second[0].run(PARAMS, prompt="a fox", seed=7)
    assert server.jobs == ["video_0"]
    assert desk.notes["resumed_job"] == "video_0"
    assert (len(paid.charges), desk.charges) == (1, [])


def test_a_job_that_takes_too_long_is_stopped(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, is_endless=True)) as server, pytest.raises(StageFailed, match="has not ended after"):
        loaded(tmp_path, server, deadline_s=0.2)[0].run(PARAMS, prompt="a fox", seed=7)
    assert server.stopped == ["POST /v1/videos/video_0/cancel"]


def test_a_request_that_is_repeated_after_its_end_is_a_new_one_to_a_server_that_honours_keys(
    tmp_path: Path, film: bytes
) -> None:
    with studio(Habits(film, states=["failed"], is_idempotent=True)) as server:
        stage, _ = loaded(tmp_path, server, honours_idempotency_key=True)
        with pytest.raises(StageFailed, match="not this one"):
            stage.run(PARAMS, prompt="a fox", seed=7)
        server.habits.states = ["completed"]
        stage.run(PARAMS, prompt="a fox", seed=7)
    assert server.jobs == ["video_0", "video_1"]


def test_two_runs_that_ask_for_the_same_at_once_get_a_job_each(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film)) as server:
        stages = [loaded(tmp_path, server)[0] for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            clips = list(pool.map(lambda stage: stage.run(PARAMS, prompt="a fox", seed=7), stages))
    assert len(server.jobs) == len(clips) == 2


@pytest.mark.parametrize("status", [402, 410])
def test_what_is_not_the_callers_fault_is_no_bad_request(tmp_path: Path, film: bytes, status: int) -> None:
    with studio(Habits(film, answers=[status])) as server, pytest.raises(StageFailed, match="Refused"):
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)


def test_a_file_beyond_the_limit_is_not_read_to_its_end(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film)) as server, pytest.raises(StageFailed, match="more than 100 bytes"):
        loaded(tmp_path, server, file_bytes=100)[0].run(PARAMS, prompt="a fox", seed=7)


def test_the_seconds_that_were_ordered_are_charged(tmp_path: Path) -> None:
    film = film_of(tmp_path / "film", frames=48, fps=12)
    with studio(Habits(film)) as server:
        stage, desk = loaded(tmp_path, server, seconds_choices=[4, 8], usd_per_clip=0, usd_per_clip_s=0.1)
        stage.run(Remote.Params(width=64, height=48, frames=40, fps=12), prompt="a fox", seed=7)
    assert desk.charges[0][0] == pytest.approx(0.4)


def test_a_job_that_the_server_has_forgotten_is_over_and_a_new_run_may_ask_again(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, is_mute=True)) as server:
        with pytest.raises(Unavailable):
            loaded(tmp_path, server, retries=0)[0].run(PARAMS, prompt="a fox", seed=7)
        server.jobs.clear()
        server.habits.is_mute = False
        with pytest.raises(StageFailed, match="has forgotten video_0"):
            loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)


def test_a_cancelled_run_is_cancelled_there(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, is_endless=True)) as server:
        stage, desk = loaded(tmp_path, server, cancel_after=2)
        with pytest.raises(Cancelled):
            stage.run(PARAMS, prompt="a fox", seed=7)
    assert server.stopped == ["POST /v1/videos/video_0/cancel"]
    assert desk.notes["stopped_at_server"] is True
    assert desk.charges == [(0.5, f"a clip from {server.url}")]


def test_where_the_server_knows_no_cancel_the_job_is_deleted(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, is_endless=True, has_cancel=False)) as server:
        stage, _ = loaded(tmp_path, server, cancel_after=1)
        with pytest.raises(Cancelled):
            stage.run(PARAMS, prompt="a fox", seed=7)
    assert server.stopped == ["DELETE /v1/videos/video_0"]


def test_a_job_that_fails_there_fails_here_with_its_reason(tmp_path: Path, film: bytes) -> None:
    with (
        studio(Habits(film, states=["failed"])) as server,
        pytest.raises(StageFailed, match="moderation: not this one"),
    ):
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)


def test_the_server_may_ask_for_a_slower_pace(tmp_path: Path, film: bytes) -> None:
    with studio(Habits(film, poll_after_ms=10)) as server:
        loaded(tmp_path, server, poll_s=60)[0].run(PARAMS, prompt="a fox", seed=7)
    assert server.looks == 3


@pytest.mark.parametrize(
    ("weights", "usd"),
    [({}, 0.5), ({"usd_per_clip_s": 0.8}, 0.5 + 0.8 * 9 / 24), ({"usd_per_clip": None}, None)],
)
def test_a_clip_is_charged_once(tmp_path: Path, film: bytes, weights: dict[str, Any], usd: float | None) -> None:
    with studio(Habits(film)) as server:
        stage, desk = loaded(tmp_path, server, **weights)
        stage.run(PARAMS, prompt="a fox", seed=7)
    assert desk.charges == [(usd if usd is None else pytest.approx(usd), f"a clip from {server.url}")]


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        (Remote.Params(width=96, height=48, frames=9), "96x48x9 were asked for and 80x64x12 came"),
        (Remote.Params(width=64, height=48, frames=13), "64x48x13 were asked for and 80x64x12 came"),
        (Remote.Params(width=64, height=48, frames=9, fps=30), "30 fps were asked for and 24 came"),
    ],
)
def test_less_than_was_asked_for_is_an_error(tmp_path: Path, film: bytes, params: Remote.Params, fault: str) -> None:
    with studio(Habits(film)) as server, pytest.raises(StageFailed, match=fault):
        loaded(tmp_path, server)[0].run(params, prompt="a fox", seed=7)


@pytest.mark.parametrize("content", [b"", b"<html>try again</html>", None])
def test_what_is_no_whole_video_is_an_error_of_the_server(tmp_path: Path, film: bytes, content: bytes | None) -> None:
    with (
        studio(Habits(film[: len(film) // 2] if content is None else content)) as server,
        pytest.raises(StageFailed, match="InvalidClip"),
    ):
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)


@pytest.mark.parametrize("url", ["ftp://host/v1", "host/v1", "http://", "https://me:secret@host/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Remote.Weights(url=url)


def test_the_shipped_pipeline_judges_and_enlarges_what_the_server_made(tmp_path: Path, film: bytes) -> None:
    document = find_pipeline("remote-fidelity-1080p").model_dump(by_alias=True, mode="json")
    small = {"width": 64, "height": 48}
    document["nodes"]["draft"]["with"] |= small
    for judge in ("judge", "final_judge"):
        document["nodes"][judge]["with"] |= small
    document["nodes"]["upscale"]["with"] = small
    spec = parse_pipeline(document, "small")
    with studio(Habits(film)) as server:
        weights: dict[str, dict[str, object]] = {
            "generate.remote": {"url": server.url, "poll_s": 0.05, "usd_per_clip": 0.5}
        }
        uses = {box.use for box in spec.nodes.values()}
        known = {use: deployment_of(use, use, deployments.locate(use), weights.get(use, {})) for use in uses}
        bound = compile_plan(spec, known).bind({"prompt": "a fox", "frames": 9, "seed": 7, "on_fail": "warn"})
        outcome = asyncio.run(walk(bound, in_process(tmp_path), Notes(), Rules()))
    video = outcome.done["encode"].value
    assert (video.facts["width"], video.facts["height"], video.facts["frames"]) == (64, 48, 9)
    assert [(charge.usd, charge.what) for charge in outcome.done["draft"].record.charges] == [
        (0.5, f"a clip from {server.url}")
    ]
