"""Whole runs over HTTP and Serve, and the same plans in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from serve_app.commands.client import Client, Refused
from serve_app.commands.followed import Followed, Happening
from serve_app.commands.local import Local
from serve_app.config import AppConfig
from tests.serve.conftest import PHOTO


def finish(
    followed: Followed, pipeline: str, inputs: dict[str, Any], policy: dict[str, Any]
) -> tuple[str, list[Happening]]:
    """Submit a run and follow it to its end; return its id and everything that happened."""
    run_id = followed.submit(pipeline, inputs, policy)
    return run_id, list(followed.follow(run_id))


def test_a_photo_becomes_a_judged_and_upscaled_clip(client: Client, tmp_path: Path) -> None:
    run_id, happenings = finish(client, "photo", {"prompt": "push in", "image": PHOTO, "seed": 1}, {})
    assert happenings[-1].kind == "succeeded"
    report = client.report(run_id)
    assert report["verdict"]["word"] == "pass"
    client.fetch(run_id, "video", tmp_path / "video.mp4")
    with av.open(str(tmp_path / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames, stream.average_rate) == (240, 136, 9, 24)
    kinds = {happening.kind for happening in happenings}
    assert {"run.started", "attempt.started", "step.started", "step.progress", "step.finished"} <= kinds


def test_serve_and_this_process_make_the_same_bytes(client: Client, app_config: AppConfig, tmp_path: Path) -> None:
    inputs = {"prompt": "pan left", "image": PHOTO, "seed": 5}
    over_serve, _ = finish(client, "photo", inputs, {})
    local = Local(app_config.model_copy(update={"directory": tmp_path}), {})
    in_process, _ = finish(local, "photo", inputs, {})
    ours, theirs = local.report(in_process), client.report(over_serve)
    local.close()
    assert ours["outputs"]["video"]["digest"] == theirs["outputs"]["video"]["digest"]
    assert ours["scores"] == theirs["scores"]


def test_noise_is_rejected_after_its_attempts_with_the_evidence(client: Client, tmp_path: Path) -> None:
    run_id, happenings = finish(client, "noise", {"prompt": "a portrait", "image": PHOTO, "seed": 3}, {})
    assert happenings[-1].kind == "rejected"
    report = client.report(run_id)
    assert [attempt["verdict"] for attempt in report["attempts"]] == ["fail", "fail"]
    assert len({attempt["seed"] for attempt in report["attempts"]}) == 2
    assert report["verdict"]["detector"] == "fidelity"
    assert report["outputs"] == {}
    client.fetch(run_id, "sheet", tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    upscaled = [s for attempt in report["attempts"] for s in attempt["steps"] if s["node"] == "upscale"]
    assert upscaled == [], "only what passed is upscaled"


def test_noise_ships_with_its_sound_when_the_gate_only_warns(client: Client, tmp_path: Path) -> None:
    inputs = {"prompt": "a portrait", "image": PHOTO, "seed": 3, "on_fail": "warn"}
    run_id, happenings = finish(client, "noise", inputs, {})
    assert happenings[-1].kind == "succeeded"
    report = client.report(run_id)
    assert report["verdict"]["word"] == "fail"
    assert any("fidelity" in warning["message"] for warning in report["warnings"])
    client.fetch(run_id, "video", tmp_path / "video.mp4")
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]


def test_the_best_attempt_is_finished_and_marked_rejected_when_the_policy_keeps_it(client: Client) -> None:
    inputs = {"prompt": "a portrait", "image": PHOTO, "seed": 3}
    run_id, happenings = finish(client, "noise", inputs, {"attempts": 2, "keep": "best"})
    assert happenings[-1].kind == "rejected"
    report = client.report(run_id)
    assert report["outputs"]["video"]["media_type"] == "video/mp4"
    assert not report["is_accepted"]
    points = [attempt["scores"]["judge"]["points"] for attempt in report["attempts"]]
    assert report["delivered_attempt"] == 1 + points.index(max(points))


def test_cancel_stops_the_stage_at_its_next_step(client: Client) -> None:
    run_id = client.submit("long", {"prompt": "sway", "image": PHOTO, "seed": 1, "frames": 400}, {})
    kinds = []
    for happening in client.follow(run_id):
        kinds.append(happening.kind)
        if happening.kind == "step.progress" and "step.cancelled" not in kinds:
            client.cancel(run_id)
            kinds.append("step.cancelled")
    assert kinds[-1] == "cancelled"
    # The replica is free again: a short run on the same deployments passes.
    _, happenings = finish(client, "photo", {"prompt": "push in", "image": PHOTO, "seed": 1}, {})
    assert happenings[-1].kind == "succeeded"


def test_a_bad_request_is_refused_before_anything_is_recorded(client: Client) -> None:
    with pytest.raises(Refused, match="frames"):
        client.submit("noise", {"prompt": "x", "frames": 10}, {})
    with pytest.raises(Refused, match="did you mean"):
        client.submit("phota", {"prompt": "x"}, {})
    with pytest.raises(Refused, match="policy"):
        client.submit("noise", {"prompt": "x"}, {"attempts": 0})


def test_text_to_video_needs_no_picture(client: Client) -> None:
    run_id, happenings = finish(client, "noise", {"prompt": "a fox", "seed": 3}, {})
    report = client.report(run_id)
    assert happenings[-1].kind in ("succeeded", "rejected")
    assert any("fidelity" in w["message"] or "picture" in w["message"] for w in report["warnings"])


def test_the_shipped_ltx2_pipeline_makes_1080p_with_sound(client: Client, tmp_path: Path) -> None:
    """On random weights, so the gates only warn; sizes, counts, rate and sound are those of the real model."""
    inputs = {"prompt": "a portrait", "image": PHOTO, "seed": 1, "frames": 9, "on_fail": "warn"}
    run_id, happenings = finish(client, "ltx2-fidelity-1080p", inputs, {})
    assert happenings[-1].kind == "succeeded"
    client.fetch(run_id, "video", tmp_path / "video.mp4")
    with av.open(str(tmp_path / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames, stream.average_rate) == (1920, 1080, 9, 24)
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
    steps = {step["node"]: step for step in client.report(run_id)["attempts"][0]["steps"]}
    assert steps["draft"]["value"] | {"frames": 9, "width": 1280, "height": 720} == steps["draft"]["value"]
    assert steps["draft"]["notes"]["ltx2"]["steps"] == 10
