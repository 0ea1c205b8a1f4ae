"""The log of a run: the same sections every time, so that a script can read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.__main__ import main
from serve_app.commands.phases import phases
from serve_app.commands.profile import PROFILES
from tests.test_run_command import SMALL

PUBLISHED = {0: 10.23, 24: 13.45, 48: 15.67, 72: 14.12, 96: 12.89}
"""The differences of a published sample log, whose mean is 13.27."""
SECTION = re.compile(r"\[(\d+)/(\d+)\] (\w+): ([\w.]+), (\d+\.\d) s")
END = re.compile(r"\[(COMPLETE|REJECTED|FAILED)\] run (\S+), (\d+\.\d) s, (\S+|\d+\.\d{4} USD.*), verdict (\w+)")


def step(node: str, value: dict[str, Any], *warnings: str) -> dict[str, Any]:
    return {"node": node, "stage": f"judge.{node}", "seconds": 1.25, "value": value, "warnings": list(warnings)}


def report(state: str = "succeeded", **more: Any) -> dict[str, Any]:
    points = [{"frame": at, "value": value, "unit": "levels", "label": "OK"} for at, value in PUBLISHED.items()]
    found = [{"detector": "blur", "verdict": "warn", "reason": "it is soft"}, {"detector": "noise", "verdict": "pass"}]
    score = {"type": "score", "checkpoints": points, "verdict": "warn", "label": "WARN", "points": 74.0}
    video = {"type": "artifact", "name": "video.mp4", "size_bytes": 19_670_000}
    steps = [step("judge", {**score, "findings": found}), step("encode", video, "first frame replaced")]
    return {
        "run": "run-1",
        "state": state,
        "attempts": [{"number": 1, "seed": 7, "steps": steps[:1]}, {"number": 2, "seed": 8, "steps": steps}],
        "delivered_attempt": 2,
        "verdict": {"word": "warn"},
        "cost": {"usd": 0.0177, "seconds": 57.7, "amounts": {"KRW": 25.6}},
        **more,
    }


def test_every_step_is_a_section_and_the_end_is_the_last_line() -> None:
    lines = list(phases(report()))
    sections = [match for line in lines if (match := SECTION.fullmatch(line))]
    assert [(match[1], match[2], match[3]) for match in sections] == [("1", "2", "judge"), ("2", "2", "encode")]
    assert lines[0] == "[ATTEMPT 2 of 2] seed 8"
    assert lines[-1] == "[COMPLETE] run run-1, 57.7 s, 0.0177 USD = 25.6 KRW, verdict warn"
    assert END.fullmatch(lines[-1])


def test_the_published_checkpoints_come_out_with_their_mean() -> None:
    lines = [line.strip() for line in phases(report())]
    assert [line for line in lines if line.startswith("frame ")] == [
        f"frame {at:>4}: {value:6.2f} levels  OK" for at, value in PUBLISHED.items()
    ]
    assert "max 15.67, mean 13.27 levels" in lines
    assert "WARN blur: it is soft" in lines
    assert "video.mp4: 19.67 MB" in lines
    assert "warning: first frame replaced" in lines


@pytest.mark.parametrize(("state", "word"), [("rejected", "REJECTED"), ("failed", "FAILED"), ("cancelled", "FAILED")])
def test_an_end_that_is_no_success_has_another_word(state: str, word: str) -> None:
    lines = list(phases(report(state, delivered_attempt=None, cost={"usd": None, "seconds": 0.0, "amounts": {}})))
    assert lines[0].startswith("[ATTEMPT 2 of 2]")
    assert lines[-1].startswith(f"[{word}] ")
    assert "unknown" in lines[-1]


def test_a_run_without_an_attempt_has_an_end_alone() -> None:
    (line,) = phases(report("failed", attempts=[], delivered_attempt=None, verdict={"word": None}))
    assert line.endswith("verdict none")


def test_greenlight_run_prints_it_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    profile = tmp_path / "profile.yaml"
    application = {"import_path": "serve_app.app:build", "args": {"pipelines": [str(SMALL)]}}
    profile.write_text(yaml.safe_dump({"applications": [application]}))
    inputs = ["-i", f"image=@{PROFILES / 'demo.jpg'}", "-i", "prompt=push in", "-i", "seed=1"]
    assert main(["run", "photo", "--local", "--profile", str(profile), "--out", "out", "--log", *inputs]) == 0
    lines = capsys.readouterr().out.splitlines()
    nodes = [match[3] for line in lines if (match := SECTION.fullmatch(line))]
    assert {"draft", "judge", "gate", "upscale", "encode"} <= set(nodes)
    assert any(END.fullmatch(line) for line in lines)
