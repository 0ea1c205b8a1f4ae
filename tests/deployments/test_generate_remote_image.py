"""Another server's pictures: what it is told, what comes back, and that nothing is paid for twice."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from deployments.generate.remote_image import RemoteImage
from deployments.nets.remote.picture import png_of
from serve_app.core.errors import Cancelled, InvalidInput, StageFailed, Unavailable
from serve_app.core.media import Image
from tests.deployments.desk import DeskContext
from tests.deployments.studio import Habits, Studio, studio

PIXELS = np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8)
PICTURE = png_of(Image(PIXELS))
PARAMS = RemoteImage.Params(width=32, height=24)


def loaded(
    root: Path, server: Studio, cancel_after: int | None = None, **weights: object
) -> tuple[RemoteImage, DeskContext]:
    desk, stage = DeskContext(root, cancel_after=cancel_after), RemoteImage()
    settings = {"url": server.url, "answer_s": 2, "retries": 2, "usd_per_picture": 0.04, **weights}
    stage.load(RemoteImage.Weights.model_validate(settings), desk)
    return stage, desk


@pytest.mark.parametrize("as_url", [False, True])
def test_a_picture_comes_back_and_is_cropped_to_what_was_asked_for(tmp_path: Path, as_url: bool) -> None:
    with studio(Habits(PICTURE, as_url=as_url)) as server:
        stage, desk = loaded(tmp_path, server, model="far-away-1")
        image = stage.run(PARAMS, prompt="a fox", seed=7)
    assert np.array_equal(image.pixels, PIXELS[8:32, 14:46])
    assert image.model == "far-away-1"
    assert desk.charges == [(0.04, f"a picture from {server.url}")]


def test_the_server_is_told_all_of_it_under_its_own_names(tmp_path: Path) -> None:
    with studio(Habits(PICTURE)) as server:
        params = RemoteImage.Params(width=32, height=24, steps=8, guidance=2.5, negative_prompt="blur")
        loaded(tmp_path, server)[0].run(params, prompt="a fox", seed=7)
    assert server.bodies == [
        {
            "response_format": "b64_json",
            "prompt": "a fox",
            "n": 1,
            "size": "32x24",
            "num_inference_steps": 8,
            "guidance_scale": 2.5,
            "negative_prompt": "blur",
            "seed": 7,
        }
    ]


def test_what_the_server_cannot_be_told_is_refused(tmp_path: Path) -> None:
    with studio(Habits(PICTURE)) as server:
        stage, _ = loaded(tmp_path, server, dialect="openai", response_format="none")
        with pytest.raises(InvalidInput, match="steps: this server is not told of it"):
            stage.run(RemoteImage.Params(steps=4), prompt="a fox", seed=7)
    assert not server.bodies


def test_a_request_that_may_have_been_taken_is_not_sent_twice(tmp_path: Path) -> None:
    with studio(Habits(PICTURE, answers=[0])) as server:
        with pytest.raises(StageFailed, match="may cost a second time"):
            loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)
        with pytest.raises(StageFailed, match="its answer never came"):
            loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)
    assert len(server.bodies) == 1


def test_a_server_that_honours_the_key_is_asked_again(tmp_path: Path) -> None:
    with studio(Habits(PICTURE, answers=[0], is_idempotent=True)) as server:
        loaded(tmp_path, server, honours_idempotency_key=True)[0].run(PARAMS, prompt="a fox", seed=7)
    assert (len(server.jobs), len(server.bodies)) == (1, 2)


def test_a_busy_server_leaves_the_step_to_be_tried_again(tmp_path: Path) -> None:
    with studio(Habits(PICTURE, answers=[503] * 9)) as server:
        stage, desk = loaded(tmp_path, server)
        with pytest.raises(Unavailable):
            stage.run(PARAMS, prompt="a fox", seed=7)
    assert not desk.charges


def test_a_cancelled_run_does_not_wait_for_its_picture_and_is_charged(tmp_path: Path) -> None:
    with studio(Habits(PICTURE)) as server:
        stage, desk = loaded(tmp_path, server, cancel_after=2, answer_s=60)
        asked, answered = threading.Event(), threading.Event()
        habits = server.habits
        take = server.take

        def slow(key: str | None) -> str:
            asked.set()
            desk.steps.append((0, 1))  # the run is cancelled while the server works
            answered.wait(10)
            return take(key)

        server.take = slow  # type: ignore[method-assign]
        with pytest.raises(Cancelled):
            stage.run(PARAMS, prompt="a fox", seed=7)
        answered.set()
    assert asked.is_set()
    assert habits.content
    assert desk.charges == [(0.04, "a picture that nobody waited for")]


@pytest.mark.parametrize("content", [b"", b"no picture", PICTURE[: len(PICTURE) // 2]])
def test_what_is_no_whole_picture_is_an_error_of_the_server(tmp_path: Path, content: bytes) -> None:
    with studio(Habits(content)) as server, pytest.raises(StageFailed, match="InvalidPicture"):
        loaded(tmp_path, server)[0].run(PARAMS, prompt="a fox", seed=7)


def test_a_smaller_picture_is_an_error(tmp_path: Path) -> None:
    with studio(Habits(PICTURE)) as server, pytest.raises(StageFailed, match="64x24 was asked for and 60x40 came"):
        loaded(tmp_path, server)[0].run(RemoteImage.Params(width=64, height=24), prompt="a fox", seed=7)


def test_a_picture_that_lies_elsewhere_is_fetched_without_the_key_and_paid_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-secret")
    with studio(Habits(PICTURE)) as store, studio(Habits(PICTURE, as_url=True, elsewhere=store.url)) as server:
        store.habits.is_mute = True
        first, paid = loaded(tmp_path, server, key_file=tmp_path / "key", retries=0)
        with pytest.raises(Unavailable):
            first.run(PARAMS, prompt="a fox", seed=7)
        store.habits.is_mute = False
        second, desk = loaded(tmp_path, server, key_file=tmp_path / "key", retries=0)
        second.run(PARAMS, prompt="a fox", seed=7)
    assert server.secrets == ["Bearer sk-secret"]
    assert store.gets == [None, None]
    assert (len(paid.charges), desk.charges) == (1, [])
