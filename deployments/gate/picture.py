"""The gate for pictures: hands one on, or turns it away with the detector that said so."""

from __future__ import annotations

from typing import Literal

from serve_app.core.errors import Rejected
from serve_app.core.media import Image
from serve_app.core.score import Score, Verdict
from serve_app.core.stage import Context, Strict


class PictureGate:
    """Enforces a judge's verdict on a picture (`gate.picture`).

    PASS and WARN hand on the same picture, FAIL raises Rejected, unless ``on_warn`` and ``on_fail`` say otherwise;
    REJECT always raises. Rejected names the detector and the value; the run may try another seed, but not after
    REJECT, which no seed can help.
    """

    gates = "image"

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """What to do on a failure (``on_fail``: reject, warn) and a warning (``on_warn``: pass, reject)."""

        on_fail: Literal["reject", "warn"] = "reject"
        on_warn: Literal["pass", "reject"] = "pass"

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, image: Image, score: Score) -> Image:
        """Return ``image`` itself; raise Rejected."""
        worst = score.worst
        self._context.note("verdict", score.verdict.word)
        if worst is not None and _is_refused(params, score.verdict):
            is_final = worst.verdict is Verdict.REJECT
            raise Rejected(worst.detector, worst.frame, worst.value, worst.reason, is_final)
        for finding in score.findings:
            if finding.verdict is not Verdict.PASS:
                self._context.warn(f"{finding.detector} {finding.verdict.word}: {finding.reason}")
        return image


def _is_refused(params: PictureGate.Params, verdict: Verdict) -> bool:
    if verdict is Verdict.FAIL:
        return params.on_fail == "reject"
    if verdict is Verdict.WARN:
        return params.on_warn == "reject"
    return verdict is Verdict.REJECT
