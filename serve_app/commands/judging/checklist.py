"""What a person is to ask before a clip goes out, and which of it the judge can answer. It never answers by silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.core.score import Score, Verdict

PERSON = "needs a person or learned weights"
RUN = "in the report of the run that made it"


@dataclass(frozen=True)
class Box:
    """A question, and the ``detectors`` that answer it together; or ``left_to``, who does."""

    group: str
    question: str
    detectors: tuple[str, ...] = ()
    left_to: str = ""


BOXES = (
    Box("fidelity", "Is it the same person as in the input?", ("first_frame", "identity")),
    Box("fidelity", "Is it the same person at the start and at the end?", ("identity",)),
    Box("fidelity", "Is nothing melting or deformed?", ("drift",)),
    Box("fidelity", "Is nothing wobbling or rippling?", ("wobble",)),
    Box("fidelity", "Is the expression's detail better than the baseline's?", left_to=PERSON),
    Box("quality", "Is the detail of the input kept?", ("detail",)),
    Box("quality", "Is there little noise?", ("noise",)),
    Box("quality", "Is it sharp?", ("blur",)),
    Box("quality", "Is it close to the full model?", left_to="needs a sweep of both models"),
    Box("AI feel", "Is there no plastic skin?", left_to=PERSON),
    Box("AI feel", "Is it not cartoonish?", left_to=PERSON),
    Box("AI feel", "Does it look natural?", left_to=PERSON),
    Box("AI feel", "Is it photorealistic?", left_to=PERSON),
    Box("1080p", "Is it 1920x1080?"),
    Box("1080p", "Are there few artefacts of enlarging and encoding?", ("blocks", "banding", "flicker")),
    Box("1080p", "Is it fit for upload?", left_to=PERSON),
    Box("performance", "Was it made in time?", left_to=RUN),
    Box("performance", "Did it cost what it should?", left_to=RUN),
)
_WORDS = {Verdict.PASS: "yes", Verdict.WARN: "look", Verdict.FAIL: "no", Verdict.REJECT: "no"}


def answers(score: Score | None, facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return every box with its answer: ``yes``, ``look`` (a warning), ``no``, or who has to answer it."""
    return [{"group": box.group, "question": box.question, **_answer(box, score, facts)} for box in BOXES]


def _answer(box: Box, score: Score | None, facts: Mapping[str, Any]) -> dict[str, str]:
    if box.left_to:
        return {"answer": "open", "by": box.left_to}
    if not box.detectors:
        size = f"{facts['width']}x{facts['height']}" if facts else ""
        return {"answer": "no" if size != "1920x1080" else "yes", "by": size} if size else _unmeasured()
    found = {} if score is None else {finding.detector: finding.verdict for finding in score.findings}
    if not all(name in found for name in box.detectors):
        return _unmeasured()
    return {"answer": _WORDS[max(found[name] for name in box.detectors)], "by": ", ".join(box.detectors)}


def _unmeasured() -> dict[str, str]:
    return {"answer": "open", "by": "not measured"}
