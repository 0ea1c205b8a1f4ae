"""Whether the face in a clip stays that of its picture: SFace's cosine at the checkpoints."""

from __future__ import annotations

import numpy as np

from deployments.metrics.faces import Face, Faces, cosine
from deployments.metrics.findings import Reading
from deployments.metrics.seed_score import checkpoints_of
from serve_app.core.media import Pixels

_LATE = 3


def face_readings(faces: Faces, reference: Pixels, face: Face, frames: Pixels) -> dict[str, Reading]:
    """Return how the face at every checkpoint of ``frames`` (T, H, W, 3) compares with ``face`` of ``reference``.

    ``face``: the median cosine of the last three checkpoints that show a face, at the first checkpoint below the
    middle between that and 1. ``faces_lost``: the share of the last three that show none. ``face_at_<frame>``: each
    checkpoint's cosine. A face is looked for near where it was last.
    """
    mine, near = faces.features(reference, face), face.box
    seen: dict[int, float | None] = {}
    for at in checkpoints_of(len(frames)):
        other = faces.find(frames[at], near)
        seen[at] = None if other is None else cosine(mine, faces.features(frames[at], other))
        near = near if other is None else other.box
    late = list(seen.values())[-_LATE:]
    lost = [at for at, value in seen.items() if value is None]
    readings = {f"face_at_{at}": Reading(value, at) for at, value in seen.items() if value is not None}
    readings["faces_lost"] = Reading(sum(value is None for value in late) / len(late), lost[0] if lost else None)
    known = [value for value in late if value is not None]
    if known:
        middle = float(np.median(known))
        low = [at for at, value in seen.items() if value is not None and value <= (1 + middle) / 2]
        readings["face"] = Reading(middle, low[0] if low else None)
    return readings
