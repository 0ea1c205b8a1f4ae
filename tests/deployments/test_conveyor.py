"""Frames to a device and back: order, sizes, and that no buffer is written while somebody reads it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deployments.nets.conveyor import Conveyor
from serve_app.core.media import Pixels


def numbered(count: int, side: int = 4) -> Pixels:
    frames = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, 3))
    assert not frames.flags.writeable
    return frames


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_frame_comes_back_once_and_in_order(count: int, chunk: int) -> None:
    back = [part.copy() for part in Conveyor("cpu").carry(numbered(count), chunk, lambda x: x + 1)]
    assert [len(part) for part in back[:-1]] == [chunk] * max(0, len(back) - 1)
    seen = np.concatenate(back)[:, 0, 0, 0].tolist() if back else []
    assert seen == list(range(1, count + 1))


def test_a_result_stays_whole_until_the_next_is_asked_for() -> None:
    for number, part in enumerate(Conveyor("cpu").carry(numbered(6), 1, lambda x: x * 2)):
        assert (part == 2 * number).all()


def test_what_work_is_given_stays_whole_while_the_next_is_staged() -> None:
    given: list[torch.Tensor] = []

    def work(x: torch.Tensor) -> torch.Tensor:
        given.append(x)
        for earlier, tensor in enumerate(given[-1:], len(given) - 1):
            assert (tensor == earlier).all()
        return x

    assert len(list(Conveyor("cpu").carry(numbered(5), 1, work))) == 5


def test_a_result_may_have_another_size_and_the_next_clip_too() -> None:
    conveyor = Conveyor("cpu")
    for side in (4, 6, 2):
        parts = [part.copy() for part in conveyor.carry(numbered(3, side), 2, lambda x: x.repeat(1, 2, 2, 1))]
        assert [part.shape for part in parts] == [(2, 2 * side, 2 * side, 3), (1, 2 * side, 2 * side, 3)]
        assert [int(part[0, 0, 0, 0]) for part in parts] == [0, 2]


def test_a_clip_that_was_left_in_the_middle_does_not_disturb_the_next() -> None:
    conveyor = Conveyor("cpu")
    left = conveyor.carry(numbered(5), 1, lambda x: x)
    next(left)
    del left
    assert [int(part[0, 0, 0, 0]) for part in conveyor.carry(numbered(4), 1, lambda x: x)] == [0, 1, 2, 3]
