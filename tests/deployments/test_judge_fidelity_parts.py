"""Judging chunk by chunk gives the very score of the whole clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from deployments.judge.fidelity import Fidelity, Glance
from serve_app.core.media import Clip, Image
from serve_app.core.score import Score
from serve_app.core.streaming import Chunk, count_of, cut, span_of
from tests.deployments.desk import DeskContext


def clip_of(frames: int) -> Clip:
    """A pan with a black frame, a repeated one and grain."""
    photo = data.astronaut()
    views = np.stack([photo[:96, index : index + 160] for index in range(frames)])
    if frames > 9:
        views[5] = 0
        views[9] = views[8]
    return Clip(views, Fraction(24), "pan")


def in_chunks(judge: Fidelity, params: Fidelity.Params, clip: Clip, size: int, image: Image | None) -> Score:
    count = clip.shape.frames
    chunks = list(cut([clip], size, count))
    parts: list[Glance] = []
    for index, chunk in reversed(list(enumerate(chunks))):  # parts may be made in any order
        before = chunks[index - 1].frames[-1] if index else None
        parts.insert(
            0, judge.part(params, clip=Chunk(chunk, span_of(index, count, size)[0], count, before), image=image)
        )
    assert len(parts) == count_of(count, size)
    return judge.gather(params, clip=parts, image=image)


@pytest.mark.parametrize("frames", [1, 2, 17, 97])
@pytest.mark.parametrize("size", [2, 3, 16])
@pytest.mark.parametrize("has_photo", [True, False])
def test_the_score_is_the_same_to_the_last_bit(tmp_path: Path, frames: int, size: int, has_photo: bool) -> None:
    judge, params = Fidelity(), Fidelity.Params(frames=frames, width=160, height=96)
    judge.load(Fidelity.Weights(), DeskContext(tmp_path))
    clip, image = clip_of(frames), Image(data.astronaut()) if has_photo else None
    assert in_chunks(judge, params, clip, size, image) == judge.run(params, clip=clip, image=image)
