"""Two results of benches, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import compare


def lines(path: Path, *found: dict[str, Any]) -> str:
    stamps = {"bench": "kettle", "machine": "stove", "commit": "abc", "case": "boil"}
    path.write_text("".join(json.dumps({**stamps, **each}) + "\n" for each in found))
    return str(path)


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["compare", *arguments])
    return compare.main(), capsys.readouterr().out


def test_figures_stand_next_to_each_other_with_their_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = lines(tmp_path / "old.jsonl", {"wall_s": 2.0, "peak": "lid"}, {"case": "pour", "wall_s": 1})
    new = lines(tmp_path / "new.jsonl", {"wall_s": 3.0, "peak": "spout", "extra": 1}, {"case": "sip", "wall_s": 1})
    status, out = told(monkeypatch, capsys, old, new)
    assert status == 0
    table = [line.split() for line in out.splitlines()]
    assert ["kettle:", "boil", "wall_s", "2", "3", "1.500"] in table
    assert ["kettle:", "boil", "peak", "lid", "spout"] in table
    assert "only old: kettle | pour | stove" in out
    assert "only new: kettle | sip | stove" in out
    assert "extra" not in out


def test_a_file_is_compared_with_itself_by_commit_and_the_last_line_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lines(tmp_path / "x.jsonl", {"wall_s": 9.0}, {"wall_s": 4.0}, {"commit": "def", "wall_s": 1.0})
    _, out = told(monkeypatch, capsys, f"{file}@abc", f"{file}@def")
    assert out.splitlines()[1].split()[-3:] == ["4", "1", "0.250"]


def test_two_machines_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = lines(tmp_path / "old.jsonl", {"wall_s": 2.0})
    new = lines(tmp_path / "new.jsonl", {"wall_s": 3.0, "machine": "microwave"})
    assert told(monkeypatch, capsys, old, new)[0] == 1


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "is no line of a bench"), ('{"bench": 1}', "case"), ("", "no such")]
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(SystemExit, match=complaint):
        compare.read(str(tmp_path / "x.jsonl"))


def test_a_missing_file_is_said() -> None:
    with pytest.raises(SystemExit, match="there is no file nowhere"):
        compare.read("nowhere.jsonl")
