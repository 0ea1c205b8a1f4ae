"""Looking chunk by chunk gives the very score of the whole clip, series and measures included."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from deployments.judge.video import Video
from deployments.metrics.sights import Sight
from serve_app.core.media import Clip, Image
from serve_app.core.stage import contract_of
from serve_app.core.streaming import Chunk, cut, span_of
from tests.deployments.desk import DeskContext


def clip_of(frames: int) -> Clip:
    photo = data.astronaut()
    views = np.stack([photo[20:180, index : index + 240] for index in range(frames)])
    if frames > 9:
        views[5] = 0
        views[9] = views[8]
    return Clip(views, Fraction(24), "pan")


@pytest.mark.parametrize(("frames", "size"), [(1, 2), (2, 2), (17, 3), (33, 16)])
@pytest.mark.parametrize("has_photo", [True, False])
def test_the_score_is_the_same_to_the_last_bit(tmp_path: Path, frames: int, size: int, has_photo: bool) -> None:
    desk = DeskContext(tmp_path)
    judge, params = Video(), Video.Params(null_clips=0, frames=frames)
    judge.load(Video.Weights(), desk)
    clip, image = clip_of(frames), Image(data.astronaut()) if has_photo else None
    parts: list[Sight] = []
    for index, chunk in reversed(list(enumerate(cut([clip], size, frames)))):
        parts.insert(0, judge.part(params, clip=Chunk(chunk, span_of(index, frames, size)[0], frames), image=image))
    folded = judge.gather(params, clip=parts, image=image)
    notes, warnings = dict(desk.notes), list(desk.warnings)
    desk.notes.clear()
    desk.warnings.clear()
    assert folded == judge.run(params, clip=clip, image=image)
    assert (notes, warnings) == (desk.notes, desk.warnings)


def test_it_takes_chunks_in_its_clip_port_unless_it_looks_at_faces(tmp_path: Path) -> None:
    assert contract_of("judge.video", Video).ways.clip_port == "clip"
    assert Video.folds(Video.Params(), Video.Weights())
