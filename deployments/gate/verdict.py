"""The gate: hands a clip on, or turns it away with the detector that said so."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from serve_app.core.errors import InvalidInput, Rejected
from serve_app.core.media import Clip, Image, Pixels
from serve_app.core.resize import cover_resize
from serve_app.core.score import Finding, Score, Verdict
from serve_app.core.stage import Context, Strict


class VerdictGate:
    """Enforces a judge's verdict (`gate.verdict`).

    PASS and WARN hand on the same clip object, FAIL raises Rejected, unless ``on_warn`` and ``on_fail`` say otherwise;
    REJECT always raises. Rejected names the detector, the frame and the value; the run may try another seed, but not
    after REJECT, which no seed can help.

    With ``replace_first_frame`` an accepted clip is copied and its frame 0 becomes the photo, covered and cropped like
    everywhere. That mends the poster frame and nothing else, so it is never done silently: ``first_frame_replaced`` is
    noted, and ``first_step``, the change from frame 0 to 1 in 8-bit levels, before and after.
    """

    gates = "clip"

    is_chunkwise = True  # it looks at no frame but the first two, and only to replace frame 0

    is_cpu_only = True

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """What to do on a failure (``on_fail``: reject, warn) and a warning (``on_warn``: pass, reject).

        ``replace_first_frame``: put the photo itself in the place of frame 0. The report says so.
        """

        on_fail: Literal["reject", "warn"] = "reject"
        on_warn: Literal["pass", "reject"] = "pass"
        replace_first_frame: bool = False

    @staticmethod
    def requires(params: Params) -> tuple[str, ...]:
        """Return ``image`` when it is to be put into the clip."""
        return ("image",) if params.replace_first_frame else ()

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, clip: Clip, score: Score, image: Image | None = None) -> Clip:
        """Return ``clip``; raise Rejected, or InvalidInput when the photo is to be put in and there is none."""
        if params.replace_first_frame and image is None:
            raise InvalidInput("image", "replace_first_frame needs the photo, and none is connected")
        worst = score.worst
        self._context.note("verdict", score.verdict.word)
        if worst is not None and _is_refused(params, score.verdict):
            is_final = worst.verdict is Verdict.REJECT
            raise Rejected(worst.detector, worst.frame, worst.value, worst.reason, is_final)
        for finding in score.findings:
            if finding.verdict is not Verdict.PASS:
                self._context.warn(_sentence(finding))
        if params.replace_first_frame and image is not None and clip.shape.frames > 0:
            return self._with_first(clip, cover_resize(image.pixels, clip.shape.height, clip.shape.width))
        return clip

    def _with_first(self, clip: Clip, photo: Pixels) -> Clip:
        frames = clip.frames.copy()
        before = _step(frames)
        frames[0] = photo
        self._context.note("first_frame_replaced", True)
        self._context.note("first_step", {"before": before, "after": _step(frames), "unit": "levels"})
        return replace(clip, frames=frames)


def _is_refused(params: VerdictGate.Params, verdict: Verdict) -> bool:
    if verdict is Verdict.FAIL:
        return params.on_fail == "reject"
    if verdict is Verdict.WARN:
        return params.on_warn == "reject"
    return verdict is Verdict.REJECT


def _sentence(finding: Finding) -> str:
    return f"{finding.detector} {finding.verdict.word}: {finding.reason}"


def _step(frames: Pixels) -> float | None:
    """Return the mean change from frame 0 to frame 1, in 8-bit levels; None for a single frame."""
    import cv2

    if len(frames) < 2:
        return None
    first, second = (np.ascontiguousarray(frame) for frame in frames[:2])
    return float(cv2.norm(first, second, cv2.NORM_L1)) / first.size
