"""What a judge should say of each labelled failure."""

from __future__ import annotations

from serve_app.core.score import Score, Verdict
from tests.metrics.clips import Labelled

DETECTORS = {
    "swap": {"identity"},
    "morph": {"identity"},
    "blur": {"detail"},
    "frozen": {"frozen"},
    "black": {"black"},
    "flicker": {"flicker"},
    "shuffled": {"stutter"},
    "drift": {"drift"},
    "melt": {"drift"},
    "wobble": {"wobble"},
    "ripple": {"wobble"},
    "soft": {"blur"},
    "grainy": {"noise"},
    "banded": {"banding"},
    "blocky": {"blocks"},
    "dark": {"exposure"},
    "other_photo": {"identity", "first_frame"},
}


def is_named(made: Labelled, score: Score) -> bool:
    """Return whether the worst finding is the right detector's; for a legitimate clip, whether there is none."""
    worst = score.worst
    if made.kind not in DETECTORS:
        return score.verdict is Verdict.PASS
    return worst is not None and worst.verdict is not Verdict.PASS and worst.detector in DETECTORS[made.kind]


def is_placed(made: Labelled, score: Score) -> bool:
    """Return whether the worst finding is named rightly and within a frame of where the failure shows."""
    if not is_named(made, score) or made.shows is None:
        return is_named(made, score)
    frame = score.worst.frame if score.worst else None
    return frame is not None and made.shows[0] - 1 <= frame <= made.shows[1] + 1
