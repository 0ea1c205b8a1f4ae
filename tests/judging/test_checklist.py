"""Eighteen questions, none of them answered by silence."""

from __future__ import annotations

from collections import Counter

import pytest

from serve_app.commands.judging.checklist import BOXES, answers
from serve_app.core.score import Finding, Score, Verdict

HD = {"width": 1920, "height": 1080}


def score(**verdicts: Verdict) -> Score:
    return Score("video", 80, "GOOD", tuple(Finding(name, word, 0, "", "") for name, word in verdicts.items()))


def answer(question: str, given: Score | None, facts: dict[str, int] | None = None) -> dict[str, str]:
    return next(each for each in answers(given, facts or {}) if question in each["question"])


def test_there_are_eighteen_in_five_groups() -> None:
    counts = Counter(box.group for box in BOXES)
    assert counts == {"fidelity": 5, "quality": 4, "AI feel": 4, "1080p": 3, "performance": 2}


def test_nothing_is_yes_of_what_was_not_judged() -> None:
    assert {each["answer"] for each in answers(None, {})} == {"open"}
    assert all(each["by"] for each in answers(None, {}))


@pytest.mark.parametrize("group", ["AI feel", "performance"])
def test_what_no_detector_sees_stays_open_whatever_passed(group: str) -> None:
    every = {name: Verdict.PASS for box in BOXES for name in box.detectors}
    assert {each["answer"] for each in answers(score(**every), HD) if each["group"] == group} == {"open"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [(Verdict.PASS, "yes"), (Verdict.WARN, "look"), (Verdict.FAIL, "no"), (Verdict.REJECT, "no")],
)
def test_an_answer_is_the_detectors_word(word: Verdict, expected: str) -> None:
    assert answer("wobbling", score(wobble=word))["answer"] == expected


def test_an_answer_needs_all_its_detectors() -> None:
    assert answer("as in the input", score(identity=Verdict.PASS))["by"] == "not measured"
    both = score(identity=Verdict.PASS, first_frame=Verdict.FAIL)
    assert answer("as in the input", both)["answer"] == "no"


def test_the_size_is_held_against_1080p() -> None:
    assert answer("1920x1080", score(), HD) == {
        "group": "1080p",
        "question": "Is it 1920x1080?",
        "answer": "yes",
        "by": "1920x1080",
    }
    assert answer("1920x1080", score(), {"width": 1280, "height": 720})["answer"] == "no"
