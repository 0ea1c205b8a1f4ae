"""A file judged over HTTP: the same stages, the same result, and a 4xx for what is no picture and no video."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve_app.__main__ import main
from serve_app.http import judgements
from serve_app.http.app import make_api
from tests.deployments.test_judge_image import PAIRS, of_sharpness
from tests.http.house import WorkingService
from tests.judging.films import animation, film, pan, still
from tests.metrics.clips import clip

PATH = "/v1/judgements"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root: Path = tmp_path_factory.mktemp("house")
    with TestClient(make_api(WorkingService(root, ["judge-image", "judge-video"]))) as client:
        yield client


def judge(api: TestClient, name: str, data: bytes, **fields: Any) -> Any:
    files = {name: value for name, value in fields.items() if isinstance(value, bytes)}
    texts = {name: value for name, value in fields.items() if not isinstance(value, bytes)}
    return api.post(PATH, files={"file": (name, data), **files}, data={"null_clips": "0", **texts})


def judge_picture(api: TestClient, data: bytes) -> Any:
    return api.post(PATH, files={"file": ("picture", data)})


@pytest.mark.parametrize(("sharpness", "points"), PAIRS)
def test_the_published_pairs_come_out(api: TestClient, sharpness: float, points: float) -> None:
    answer = judge_picture(api, still(of_sharpness(sharpness)))
    assert answer.status_code == 200
    said = answer.json()
    assert (said["object"], said["pipeline"], said["state"]) == ("judgement", "judge-image", "succeeded")
    assert (said["score"]["points"], said["score"]["measures"]["seed_score"]) == (points, points)
    assert said["score"]["measures"]["sharpness"] == pytest.approx(sharpness, abs=2)


def test_a_clip_is_judged_against_its_reference_as_on_the_command_line(api: TestClient, tmp_path: Path) -> None:
    made = clip("validation", "face:12", "swap")
    data, reference = film(made.frames, "matroska", "ffv1", "bgr0"), still(made.subject.pixels)
    box = ",".join(map(str, made.subject.face or ()))
    answer = judge(api, "swap.mkv", data, reference=reference, face_box=box)
    assert answer.status_code == 200
    said = answer.json()
    assert (said["pipeline"], said["score"]["verdict"]) == ("judge-video", "fail")
    (tmp_path / "swap.mkv").write_bytes(data)
    (tmp_path / "photo.png").write_bytes(reference)
    options = ["--reference", str(tmp_path / "photo.png"), "--face-box", box, "--null-clips", "0"]
    assert main(["judge", str(tmp_path / "swap.mkv"), *options, "--out", str(tmp_path / "out")]) == 3
    (folder,) = (tmp_path / "out").iterdir()
    assert json.loads((folder / "report.json").read_text())["files"][0]["score"] == said["score"]


def test_an_animation_is_a_clip_and_the_bytes_say_so(api: TestClient) -> None:
    assert judge(api, "really.png", animation(pan(8), "WebP")).json()["pipeline"] == "judge-video"
    assert judge_picture(api, still(pan(1)[0], "WebP")).json()["pipeline"] == "judge-image"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "invalid_input"),
        (b"just words", "invalid_input"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "invalid_input"),
        (still(pan(1)[0])[:500], "invalid_picture"),
        (film(pan(40))[:2000], "invalid_clip"),
        (animation(pan(), "GIF")[:-2000], "invalid_clip"),
        (still(pan(1)[0], "TIFF"), "invalid_picture"),
    ],
    ids=["empty", "text", "playlist", "half a PNG", "half an MP4", "half a GIF", "TIFF"],
)
def test_what_cannot_be_judged_is_a_4xx_with_a_reason(api: TestClient, data: bytes, code: str) -> None:
    answer = api.post(PATH, files={"file": ("clip.mp4", data)})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


def test_damage_that_only_the_judge_sees_is_a_4xx_too(api: TestClient) -> None:
    """Its header is whole, so it is taken in; its frames are found missing when they are decoded."""
    data = film(pan(40), "flv", "flv1")
    answer = judge(api, "clip.flv", data[: len(data) * 2 // 3])
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_clip"
    assert "truncated or damaged" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"face_box": "0,0,2,2"}, "inputs.face_box"),
        ({"face_box": "x"}, "inputs.face_box"),
        ({"null_clips": "many"}, "inputs.null_clips"),
        ({"colour": "red"}, "inputs.colour"),
        ({"reference": "no file"}, "inputs.reference"),
    ],
)
def test_a_part_that_cannot_be_used_is_named(api: TestClient, fields: dict[str, str], field: str) -> None:
    answer = judge(api, "clip.mkv", film(pan(4), "matroska", "ffv1", "bgr0"), **fields)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_reference_for_a_picture_is_refused_and_not_ignored(api: TestClient) -> None:
    picture = still(pan(1)[0])
    answer = api.post(PATH, files={"file": ("a.png", picture), "reference": ("b.png", picture)})
    assert (answer.status_code, answer.json()["field"]) == (422, "inputs.reference")


@pytest.mark.parametrize("body", [{"json": {"file": "x"}}, {"content": b"x"}])
def test_only_a_form_is_taken(api: TestClient, body: dict[str, Any]) -> None:
    assert api.post(PATH, **body).status_code == 415


def test_the_file_must_be_a_file_and_be_there_once(api: TestClient) -> None:
    assert api.post(PATH, files={"reference": ("a.png", b"x")}).json()["field"] == "file"
    assert api.post(PATH, data={"file": "text"}, files={"x": ("x", b"")}).json()["field"] == "file"
    twice = [("file", ("a.png", b"x")), ("file", ("b.png", b"y"))]
    assert "twice" in api.post(PATH, files=twice).json()["detail"]


def test_a_file_beyond_the_limit_is_too_large(api: TestClient) -> None:
    answer = api.post(PATH, files={"file": ("a.mkv", b"\x1a\x45\xdf\xa3" + bytes(5 << 20))})
    assert answer.status_code == 413


def test_a_clip_that_would_fill_the_memory_is_too_large(api: TestClient) -> None:
    frames = pan(40, 360, 640)  # 28 MB decoded, and a tenth of that as sent
    answer = judge(api, "a.mp4", film(frames))
    assert answer.status_code == 413
    assert "decoded frames" in answer.json()["detail"]


def test_a_server_without_judges_says_which_pipeline_it_lacks(tmp_path: Path) -> None:
    with TestClient(make_api(WorkingService(tmp_path, ["judge-image"]))) as client:
        answer = client.post(PATH, files={"file": ("a.mkv", film(pan(4), "matroska"))})
    assert answer.status_code == 404
    assert "judge-video" in answer.json()["detail"]


def test_an_answer_that_does_not_wait_says_where_the_judgement_will_be(api: TestClient) -> None:
    picture = still(of_sharpness(221.0))
    answer = api.post(PATH, files={"file": ("a.png", picture)}, headers={"Prefer": "wait=1"})
    assert answer.status_code in (200, 202)
    assert api.get(answer.headers["location"]).json()["id"] == answer.json()["id"]


def test_the_same_key_is_the_same_judgement(api: TestClient) -> None:
    files = {"file": ("a.png", still(of_sharpness(221.0)))}
    first, again = (api.post(PATH, files=files, headers={"Idempotency-Key": "mine"}) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    other = api.post(PATH, files={"file": ("a.png", still(pan(1)[0]))}, headers={"Idempotency-Key": "mine"})
    assert other.status_code == 409


def test_who_would_not_wait_is_answered_at_once(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def wait(_request: Any, _service: Any, run: Any, seconds: float) -> Any:
        waits.append(seconds)
        return run

    monkeypatch.setattr(judgements, "wait_for_end", wait)
    files = {"file": ("a.png", still(pan(1)[0]))}
    assert api.post(PATH, files=files, headers={"Prefer": "wait=0"}).status_code in (200, 202)
    assert waits == [0]


def test_a_picture_beyond_the_limit_is_too_large_before_it_is_opened(api: TestClient) -> None:
    answer = api.post(PATH, files={"file": ("a.gif", b"GIF89a" + bytes(5 << 20))})
    assert (answer.status_code, answer.json()["field"]) == (413, "file")
