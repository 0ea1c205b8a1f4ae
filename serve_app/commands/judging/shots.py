"""The frames that are worth a look: at the quarters of a clip, and wherever a detector pointed."""

from __future__ import annotations

import io

import numpy as np

from serve_app.commands.judging.judgement import Shot
from serve_app.core.media import Clip, Image, Pixels
from serve_app.core.score import Score

_SIDE_PX = 480
_QUALITY = 82


def shots_of(clip: Clip, score: Score, reference: Image | None) -> tuple[Shot, ...]:
    """Return the reference, if any, and the frames to show, in order."""
    last = clip.shape.frames - 1
    raised: dict[int, list[tuple[str, str]]] = {round(last * quarter / 4): [] for quarter in range(5)}
    for finding in score.findings:
        if finding.verdict and finding.frame is not None and 0 <= finding.frame <= last:
            raised.setdefault(finding.frame, []).append((finding.detector, finding.verdict.word))
    shots = [Shot(frame, _jpeg(clip.frames[frame]), tuple(words)) for frame, words in sorted(raised.items())]
    return tuple(shots) if reference is None else (Shot(None, _jpeg(reference.pixels)), *shots)


def picture_shots(image: Image) -> tuple[Shot, ...]:
    """Return the picture itself."""
    return (Shot(0, _jpeg(image.pixels)),)


def _jpeg(pixels: Pixels) -> bytes:
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_SIDE_PX, _SIDE_PX))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()
