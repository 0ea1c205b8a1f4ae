"""The page of measurements is what the lines say, and the lines are what the benches promise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.page import page
from tests.contracts.documents import ROOT

RESULTS = sorted((ROOT / "bench" / "results").glob("*.jsonl"))


def test_the_page_is_what_the_results_say() -> None:
    shown = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert shown == page(), "run: python -m bench.page > docs/benchmarks.md"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_line_says_what_it_measured_and_where(path: Path) -> None:
    assert (ROOT / "bench" / f"{path.stem}.py").is_file()
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        assert list(line)[:4] == ["bench", "machine", "commit", "case"]
        assert line["bench"] == path.stem
