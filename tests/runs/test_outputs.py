"""What a run left, by name, and by name and attempt."""

from __future__ import annotations

import pytest

from serve_app.runs.outputs import attempt_of, of_attempts, of_run

SHEET, VIDEO = {"digest": "a" * 64}, {"digest": "b" * 64}
REPORT = {
    "evidence": {"sheet": SHEET},
    "outputs": {"sheet": SHEET, "video": VIDEO},
    "attempts": [
        {"number": 1, "outputs": {"sheet": {"digest": "c" * 64}}},
        {"number": 2, "outputs": {"sheet": SHEET, "video": VIDEO}},
    ],
}


def test_the_runs_own_outputs_have_plain_names() -> None:
    assert of_run(REPORT) == {"sheet": SHEET, "video": VIDEO}


def test_every_attempts_outputs_are_named_with_its_number() -> None:
    assert of_attempts(REPORT).keys() == {"sheet@1", "sheet@2", "video@2"}


def test_there_is_nothing_before_the_report() -> None:
    assert (of_run(None), of_attempts(None)) == ({}, {})


@pytest.mark.parametrize(("name", "number"), [("sheet@2", 2), ("sheet", None), ("sheet@", None), ("sheet@x", None)])
def test_a_name_says_which_attempt_it_is_of(name: str, number: int | None) -> None:
    assert attempt_of(name) == number
