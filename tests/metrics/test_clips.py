"""The labelled clips: sets that share nothing, and bytes that never change."""

from __future__ import annotations

import numpy as np

from tests.metrics.clips import FAST, FURTHER, LEGIT, NAMES, SLOW, clip, seed_of
from tests.metrics.expected import DETECTORS
from tests.metrics.fields import rise
from tests.metrics.pictures import subject


def test_no_picture_is_in_two_sets() -> None:
    names = [name for some in NAMES.values() for name in some]
    assert len(names) == len(set(names))


def test_each_set_moves_by_its_own_law() -> None:
    laws = [rise(split, 25) for split in NAMES]
    assert all(law[0] == 0 and abs(law[-1] - 1) < 1e-9 for law in laws)
    assert min(np.abs(laws[i] - laws[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.03


def test_no_two_clips_share_a_seed() -> None:
    kinds = (*LEGIT, *FAST, *SLOW, *FURTHER)
    seeds = {
        seed_of(split, name, kind, draw)
        for split in NAMES
        for name in NAMES[split]
        for kind in kinds
        for draw in (0, 1)
    }
    assert len(seeds) == 2 * len(kinds) * sum(map(len, NAMES.values()))


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert np.array_equal(clip("train", "face:1", "swap").frames, clip("train", "face:1", "swap").frames)


def test_every_failure_has_its_detector() -> None:
    assert set(DETECTORS) == {*FAST, *SLOW, *FURTHER}


def test_a_swap_shows_at_once_and_a_morph_over_some_frames() -> None:
    swap, morph = clip("train", "face:1", "swap"), clip("train", "face:1", "morph")
    assert swap.shows is not None
    assert morph.shows is not None
    first, last = swap.shows
    assert first == last
    change = np.abs(np.diff(swap.frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert int(change.argmax()) + 1 == first
    assert morph.shows[1] - morph.shows[0] >= 5


def test_a_legitimate_clip_begins_with_its_picture() -> None:
    made = clip("test", "face:21", "pan")
    assert np.abs(made.frames[0].astype(int) - subject("face:21").pixels).mean() < 4
