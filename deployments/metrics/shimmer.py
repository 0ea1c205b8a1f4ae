"""What finishing adds over time: does an enlarged clip flicker where its draft, enlarged plainly, does not?

The warping error of Lai et al., Learning Blind Video Temporal Consistency, 2018, as a ratio to that of the draft, so
that neither motion nor what cannot be followed counts: both are followed by the same flow, taken from the draft.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from deployments.metrics.findings import Reading
from deployments.metrics.flow import Tracker, grid_of, pulled_back, smooth, straying
from deployments.metrics.scale import CLIP_AREA_PX, Grey, Plane, grey_of, scaled, size_for
from serve_app.core.media import Pixels
from serve_app.core.resize import cover_resize

_PAIRS = 12
"""Neighbours looked at, evenly spread over the clip: finishing treats all frames alike."""
_FLOOR = 0.2
"""Levels added to both errors: what is still on both sides gains nothing."""
_FINE_PX = 2.0


def shimmer_readings(finished: Pixels, draft: Pixels) -> dict[str, Reading]:
    """Return how many times the draft's the error of following is, of two clips of as many frames (2 or more).

    ``flicker_gain``: of the luma itself; ``shimmer_gain``: of its detail finer than about 2 px. Each with the frame at
    which the ratio is largest. 1 is no difference.
    """
    height, width = finished.shape[1:3]
    small = size_for(draft.shape[1], draft.shape[2], CLIP_AREA_PX)
    tracker = Tracker(careful=False)
    places = sorted({round(place) for place in np.linspace(1, len(finished) - 1, _PAIRS)})
    errors = []
    for at in places:
        before, after = (scaled(grey_of(draft[index]), small) for index in (at - 1, at))
        flow, sure = _followed(tracker, before, after, (height, width))
        plain = [grey_of(cover_resize(draft[index], height, width)) for index in (at - 1, at)]
        errors.append(
            [_errors(pair, flow, sure) for pair in ([grey_of(finished[at - 1]), grey_of(finished[at])], plain)]
        )
    table = np.array(errors) + _FLOOR  # (pairs, finished or plain, whole or fine)
    gains, each = table[:, 0].mean(axis=0) / table[:, 1].mean(axis=0), table[:, 0] / table[:, 1]
    return {
        name: Reading(float(gains[index]), places[int(each[:, index].argmax())])
        for index, name in enumerate(("flicker_gain", "shimmer_gain"))
    }


def _followed(
    tracker: Tracker, before: Grey, after: Grey, size: tuple[int, int]
) -> tuple[Plane, npt.NDArray[np.bool_]]:
    """Return the flow at ``size`` (height, width) in its px, and where it is sure: there and back again agree."""
    first, second = smooth(before), smooth(after)
    forth, back = tracker.flow(first, second), tracker.flow(second, first)
    sure = ~straying(forth, back, grid_of(*before.shape))
    ratio = np.array([size[1] / before.shape[1], size[0] / before.shape[0]], np.float32)
    large = cv2.resize(forth, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) * ratio
    mask = cv2.resize(sure.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return large, mask.astype(bool)


def _errors(pair: list[Grey], flow: Plane, sure: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mean error of following, levels: of the luma, and of its fine detail."""
    if not sure.any():
        return 0.0, 0.0
    grid = grid_of(*sure.shape)
    first, second = (grey.astype(np.float32) for grey in pair)
    whole = np.abs(first - pulled_back(second, flow, grid))[sure].mean()
    fine = np.abs(_fine(first) - pulled_back(_fine(second), flow, grid))[sure].mean()
    return float(whole), float(fine)


def _fine(plane: Plane) -> Plane:
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), _FINE_PX))
