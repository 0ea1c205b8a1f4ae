"""Is it a clip at all, and the one that was asked for? And is there anything on it?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from serve_app.core.media import VideoShape
from serve_app.core.score import Finding, Verdict

_HOPELESS = 0.1
"""Share of black or blank frames beyond which the clip is not one."""
_MOST = 0.9
_KEPT = 0.5
"""A frame of a dark or flat picture keeps at least this share of the picture's own light or contrast."""
_SOMETHING = 1.0
"""Contrast, levels, below which a picture shows nothing that could be kept."""


@dataclass(frozen=True)
class Asked:
    """What was asked of the generator: px, frames, Hz; None: anything."""

    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: Fraction | None = None


def integrity(shape: VideoShape, fps: Fraction, asked: Asked) -> Finding:
    """Return REJECT for fewer than two frames, FAIL for another size or rate or under 90 % of the frames, WARN for
    another count."""
    faults: list[tuple[Verdict, str]] = []
    if shape.frames < 2 or not shape.height * shape.width:
        faults.append((Verdict.REJECT, f"{shape} is no clip: it takes two frames of one pixel at least"))
    if asked.frames is not None and shape.frames != asked.frames:
        verdict = Verdict.FAIL if shape.frames < _MOST * asked.frames else Verdict.WARN
        faults.append((verdict, f"frames is {shape.frames}, not {asked.frames}"))
    for name, wanted, got in (
        ("width", asked.width, shape.width),
        ("height", asked.height, shape.height),
        ("fps", asked.fps, fps),
    ):
        if wanted is not None and wanted != got:
            faults.append((Verdict.FAIL, f"{name} is {got}, not {wanted}"))
    verdict = max((fault[0] for fault in faults), default=Verdict.PASS)
    reason = (
        "; ".join(words for _, words in faults) or f"{shape} at {float(fps):.5g} fps is whole, and what was asked for"
    )
    return Finding("integrity", verdict, float(len(faults)), "faults", reason, fail_at=1.0)


def empty(detector: str, what: str, values: npt.NDArray[np.float64], below: float) -> Finding:
    """Return what ``values`` (T,) say: one frame below the threshold FAILs the clip, more than a tenth REJECT it.

    The frame is the first that is below, or the lowest of all.
    """
    low = values < below
    count = int(low.sum())
    frame = int(low.argmax()) if count else int(values.argmin())
    verdict = Verdict.PASS if not count else Verdict.REJECT if count > _HOPELESS * values.size else Verdict.FAIL
    level = f"{what} is {values[frame]:.1f} of 255 at frame {frame}"
    reason = f"{count} of {values.size} frames are {detector}: {level}" if count else f"no frame is {detector}: {level}"
    return Finding(detector, verdict, float(values[frame]), "levels", reason, frame, fail_at=below)


def emptier(found: Finding, values: npt.NDArray[np.float64], own: float, contrast: float) -> Finding:
    """Return what `empty` has ``found``, in the light of the picture that the clip was made from.

    ``own``: the picture's value; ``contrast``: its contrast, levels. A picture that is itself below the threshold, but
    shows something, makes such clips: a warning, unless frames keep less than half of what little it has.
    """
    below = found.fail_at
    if found.verdict is Verdict.PASS or below is None or own >= below or contrast < _SOMETHING:
        return found
    again = empty(found.detector, f"beside {own:.1f} of its picture, a frame's level", values, _KEPT * own)
    if again.verdict is not Verdict.PASS:
        return again
    return replace(found, verdict=Verdict.WARN, reason=f"{found.reason}; so is the picture it was made from")
