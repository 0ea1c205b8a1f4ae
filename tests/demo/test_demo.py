"""What `make demo` leaves is what it promises."""

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from serve_app.commands.demo import INPUTS
from tests.demo.conftest import Demo

STEPS = ("draft", "judge", "sheet", "gate", "upscale", "final_judge", "final_gate", "encode")
SCORED = {"judge": (480, 270), "final_judge": (960, 540)}


def boxes(path: Path) -> list[str]:
    """Return the names of an MP4's top-level boxes, in order (ISO/IEC 14496-12, 4.2)."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode("ascii"))
        at += size
    return names


def test_the_folder_is_named_by_the_time(demo: Demo) -> None:
    assert re.fullmatch(r"20\d\d[01]\d[0-3]\d_[0-2]\d[0-5]\d[0-5]\d", demo.folder.name)


def test_the_folder_holds_a_clip_a_sheet_and_a_report(demo: Demo) -> None:
    assert sorted(path.name for path in demo.folder.iterdir()) == ["report.json", "sheet.png", "video.mp4"]


def test_nothing_runs_or_listens_afterwards(demo: Demo) -> None:
    assert demo.left == []
    assert not demo.is_listening


def test_it_says_the_verdict_the_cost_and_where_the_files_are(demo: Demo) -> None:
    lines = demo.said.splitlines()
    assert sum(line.startswith("verdict  pass: ") for line in lines) == 1
    assert sum(bool(re.match(r"cost     0\.\d{6} USD = \d+\.\d\d KRW for \d+\.\d s of work$", x)) for x in lines) == 1
    for path in demo.folder.iterdir():
        assert f"  {path}" in lines


def test_without_a_terminal_each_step_is_one_line(demo: Demo) -> None:
    for step in STEPS:
        assert len(re.findall(rf"^{step} done in \d+\.\d s$", demo.said, re.MULTILINE)) == 1


def test_the_servers_words_are_in_the_log_alone(demo: Demo) -> None:
    assert "Started Serve" in demo.log.read_text(encoding="utf-8")
    assert "ServeController" not in demo.said


def test_the_run_was_accepted_at_the_first_attempt(demo: Demo) -> None:
    report = demo.report
    assert (report["state"], report["is_accepted"], report["delivered_attempt"]) == ("succeeded", True, 1)
    assert report["verdict"]["word"] == "pass"
    assert report["warnings"] == []


def test_every_score_has_values_units_and_thresholds(demo: Demo) -> None:
    scores = demo.report["scores"]
    assert scores.keys() == SCORED.keys()
    for score in scores.values():
        assert [finding["detector"] for finding in score["findings"]] == [
            "integrity", "black", "blank", "frozen", "fidelity"
        ]  # fmt: skip
        for finding in score["findings"]:
            assert isinstance(finding["value"], float)
            assert finding["unit"] in {"faults", "levels", "share"}
            assert finding["fail_at"] is not None
        assert [checkpoint["frame"] for checkpoint in score["checkpoints"]] == [0, 12, 24, 36, 48]
        assert {checkpoint["label"] for checkpoint in score["checkpoints"]} == {"OK"}


def test_the_motion_can_be_seen_and_still_passes_with_room(demo: Demo) -> None:
    for score in demo.report["scores"].values():
        (fidelity,) = [finding for finding in score["findings"] if finding["detector"] == "fidelity"]
        assert 12 < fidelity["value"] < 0.9 * fidelity["warn_at"]


def test_every_step_reports_its_parameters_its_time_and_its_cost(demo: Demo) -> None:
    (attempt,) = demo.report["attempts"]
    steps = {step["node"]: step for step in attempt["steps"]}
    assert tuple(sorted(steps, key=STEPS.index)) == STEPS
    for node, (width, height) in SCORED.items():
        assert (steps[node]["params"]["width"], steps[node]["params"]["height"]) == (width, height)
    assert steps["draft"]["params"]["strength"] == demo.report["inputs"]["strength"]
    assert steps["draft"]["notes"]["move"] | {"zoom": 0} == {
        "name": "sway", "chosen_by": "prompt", "zoom": 0, "parallax": 0.5
    }  # fmt: skip
    for step in steps.values():
        assert step["seconds"] > 0
        assert step["cost_usd"] > 0
        assert step["resources"]["cpus"] > 0


def test_the_seeds_are_reported(demo: Demo) -> None:
    assert demo.report["inputs"]["seed"] == INPUTS["seed"]
    assert [attempt["seed"] for attempt in demo.report["attempts"]] == [INPUTS["seed"]]


def test_the_timings_cover_every_step(demo: Demo) -> None:
    timings = demo.report["timings"]
    assert timings["steps_s"].keys() == {f"1.{step}" for step in STEPS}
    assert max(timings["steps_s"].values()) <= timings["attempts_s"]


def test_the_cost_is_the_sum_over_the_steps(demo: Demo) -> None:
    cost = demo.report["cost"]
    (attempt,) = demo.report["attempts"]
    assert abs(cost["usd"] - sum(step["cost_usd"] for step in attempt["steps"])) < 1e-8
    assert cost["usd_per_accepted_clip"] == cost["usd"]
    assert cost["warnings"] == []


def test_the_sheet_is_a_picture_of_1600_px_that_is_not_blank(demo: Demo) -> None:
    with Image.open(demo.folder / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.size == (1600, 900)
        assert len(sheet.convert("RGB").getcolors(1600 * 900) or []) > 10_000


def test_the_clip_is_what_every_browser_plays(demo: Demo) -> None:
    with av.open(str(demo.folder / "video.mp4")) as container:
        (stream,) = container.streams
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.profile) == ("h264", "yuv420p", "High")
        assert (context.width, context.height) == (960, 540)


def test_the_clips_index_comes_before_its_data(demo: Demo) -> None:
    names = boxes(demo.folder / "video.mp4")
    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")


def test_the_clip_has_the_frames_and_the_rate_that_were_asked_for(demo: Demo) -> None:
    inputs = demo.report["inputs"]
    with av.open(str(demo.folder / "video.mp4")) as container:
        stream = container.streams.video[0]
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
        assert stream.average_rate == inputs["fps"] == 24
    assert times == [Fraction(index, 24) for index in range(inputs["frames"])]
