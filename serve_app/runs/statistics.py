"""What few runs can and cannot say: means with intervals, paired differences, and a winner only where there is one.

Intervals are Student's, not a bootstrap's: with the three to ten runs that a sweep can afford, resampling sees too few
values and its intervals come out far too short. Scores are compared in pairs, block by block (same prompt, same seed,
another adapter), because prompts differ from one another more than adapters do.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve_app.runs.student import t_quantile

ALPHA = 0.05
"""The share of sweeps without any difference that may name a winner all the same."""
FEWEST_PAIRS = 3
"""Scores come in steps, so two pairs often differ by the same amount by chance, which would look like certainty."""

Scores = Mapping[str, float]
"""Block -> score. A block is what else was the same: a prompt, a seed."""


@dataclass(frozen=True)
class Estimate:
    """A mean of ``n`` values with its interval; ``sd``, ``low`` and ``high`` are None for fewer than two values."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    confidence: float

    def as_json(self) -> dict[str, float | int | None]:
        """Return the estimate as JSON values, to six digits after the point."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Ranking:
    """The ``best`` by mean, and whether it is the ``winner``; ``margins``: best minus each other, simultaneously."""

    best: str | None
    winner: str | None
    reason: str
    margins: Mapping[str, Estimate]


def estimate(values: Sequence[float], confidence: float = 1 - ALPHA) -> Estimate | None:
    """Return the mean of ``values`` with Student's two-sided interval at ``confidence``; None for no values."""
    n = len(values)
    if not n:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(1, mean, None, None, None, confidence)
    sd = statistics.stdev(values, mean)
    reach = t_quantile((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)
    return Estimate(n, mean, sd, mean - reach, mean + reach, confidence)


def difference(first: Scores, second: Scores, confidence: float = 1 - ALPHA) -> Estimate | None:
    """Return the mean of ``first`` minus ``second`` over the blocks that both have; None where there is none."""
    shared = [block for block in first if block in second]
    return estimate([first[block] - second[block] for block in shared], confidence)


def rank(groups: Mapping[str, Scores], alpha: float = ALPHA) -> Ranking:
    """Return the best of ``groups`` and whether it won: its paired lead over every single other one is above zero.

    Each of the k-1 leads is tested one-sided at ``alpha / k``. That bounds the chance of any false winner by ``alpha``,
    whatever the truth: call the truly best group b (of several, one of them). A false winner other than b must beat b,
    for which k-1 groups have a chance of ``alpha / k`` each; b itself is a false winner only if another is as good,
    which it must beat too: one more ``alpha / k``. That it was picked for being on top is thereby paid for (Bonferroni,
    which minds no dependence between the pairs).
    """
    means = {name: math.fsum(scores.values()) / len(scores) for name, scores in groups.items() if scores}
    if not means:
        return Ranking(None, None, "nothing has a score yet", {})
    best = max(means, key=lambda name: means[name])  # of equals, the first
    others = [name for name in groups if name != best]
    if not others:
        return Ranking(best, None, "there is nothing to compare it with", {})
    confidence = 1 - 2 * alpha / len(groups)
    leads = {name: difference(groups[best], groups[name], confidence) for name in others}
    margins = {name: lead for name, lead in leads.items() if lead is not None}
    winner, reason = _judge(best, others, margins)
    return Ranking(best, winner, reason, margins)


def _judge(best: str, others: Sequence[str], margins: Mapping[str, Estimate]) -> tuple[str | None, str]:
    """Return the winner, if there is one, and why."""
    pairs = min((margins[name].n if name in margins else 0) for name in others)
    if pairs < FEWEST_PAIRS:
        reason = f"too few pairs ({pairs}) to tell a difference from luck, {FEWEST_PAIRS} are needed"
        return None, f"no winner: {reason}"
    near = [name for name in others if (margins[name].low or 0.0) <= 0]
    if near:
        return None, f"no winner: the data does not separate {best} from {', '.join(near)}"
    closest = min(margins.values(), key=lambda lead: lead.mean)
    return best, f"{best} leads every other by {closest.mean:.3g} or more, over {pairs} pairs"
