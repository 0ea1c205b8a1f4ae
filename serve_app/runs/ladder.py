"""A ladder of ever cheaper settings (30, 20, 15, 10, 4 steps): how far down the score holds, and where it falls."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serve_app.runs.statistics import ALPHA, FEWEST_PAIRS, Estimate, Scores, difference, estimate

Word = Literal["top", "holds", "falls", "undecided"]
Shape = Literal["flat", "knee", "monotone", "not monotone", "undecided"]


@dataclass(frozen=True)
class Rung:
    """One setting: its scores, what it ``loses`` against the top rung in points, and a word for that.

    ``holds``: the loss is surely below the tolerance. ``falls``: it is surely above zero. ``undecided``: neither.
    """

    name: str
    score: Estimate | None
    loses: Estimate | None
    word: Word


@dataclass(frozen=True)
class Ladder:
    """The rungs from the top down, the whole's ``shape``, and its ``knee``: the lowest rung down to which all hold.

    ``flat``: every rung holds. ``knee``: some do, and then it falls. ``monotone``: it falls from the first step down.
    ``not monotone``: a lower rung is surely better than the one above it. ``undecided``: too little data.
    """

    rungs: tuple[Rung, ...]
    shape: Shape
    knee: str | None
    reason: str


def climb_down(rungs: Sequence[tuple[str, Scores]], tolerance: float, alpha: float = ALPHA) -> Ladder:
    """Judge ``rungs`` (name and scores by block, from the dearest down); ``tolerance`` points may be lost unmourned.

    Every word is one-sided at ``alpha`` over the number of steps down (Bonferroni). That a difference could not be
    shown is no reason to call two rungs equal: to hold, a rung's whole interval must lie within the tolerance.
    """
    confidence = 1 - 2 * alpha / max(1, len(rungs) - 1)
    top = rungs[0][1]
    judged = [
        Rung(name, estimate(list(scores.values())), *_against(top, scores, confidence, tolerance, index == 0))
        for index, (name, scores) in enumerate(rungs)
    ]
    rises = [
        name
        for (_, above), (name, below) in itertools.pairwise(rungs)
        if _is_better(difference(below, above, confidence), tolerance)
    ]
    return Ladder(tuple(judged), *_shape(judged, rises))


def _against(
    top: Scores, scores: Scores, confidence: float, tolerance: float, is_top: bool
) -> tuple[Estimate | None, Word]:
    if is_top:
        return None, "top"
    loss = difference(top, scores, confidence)
    if loss is None or loss.n < FEWEST_PAIRS or loss.low is None or loss.high is None:
        return loss, "undecided"
    if loss.high < tolerance:
        return loss, "holds"
    return loss, "falls" if loss.low > 0 else "undecided"


def _is_better(gain: Estimate | None, tolerance: float) -> bool:
    return gain is not None and gain.n >= FEWEST_PAIRS and gain.low is not None and gain.low > tolerance


def _shape(rungs: Sequence[Rung], rises: Sequence[str]) -> tuple[Shape, str | None, str]:
    words = [rung.word for rung in rungs[1:]]
    held = next((index for index, word in enumerate(words) if word != "holds"), len(words))
    knee = rungs[held].name if held else None
    if rises:
        return "not monotone", None, f"{', '.join(rises)} is better than the rung above it"
    if held == len(words):
        return "flat", knee, f"the score holds down to {knee}, the lowest rung"
    if words[held] == "undecided":
        reason = f"the data does not say whether {rungs[held + 1].name} holds"
        return "undecided", knee, f"{reason}; down to {knee} it does" if knee else reason
    if knee is None:
        return "monotone", None, f"the score falls from the first step down, at {rungs[1].name}"
    return "knee", knee, f"the score holds down to {knee} and falls at {rungs[held + 1].name}"
