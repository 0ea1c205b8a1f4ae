"""The page on judging says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from serve_app.commands.judging.checklist import BOXES

PAGE = Path(__file__).parents[2] / "docs" / "judge.md"


def test_the_checklist_on_the_page_is_the_one_that_is_answered() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## The checklist")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w[\w ]*) \| (.*?\?) \| (.*?) \|$", table, re.MULTILINE)
    assert [(group, question) for group, question, _ in rows] == [(box.group, box.question) for box in BOXES]
    for (_, _, by), box in zip(rows, BOXES, strict=True):
        assert tuple(re.findall(r"`(\w+)`", by)) == box.detectors


def test_every_detector_is_explained() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## What each detector means")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`(\w+)`", table))
    assert {name for box in BOXES for name in box.detectors} <= explained
