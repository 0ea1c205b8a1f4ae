"""The yardstick of one picture: what it is made of, remembered, and how it moves the limits."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from deployments.metrics.findings import Reading
from deployments.metrics.limits import ClipLimits
from deployments.metrics.null import MEASURES, Null, null_of
from deployments.metrics.nulls import Nulls
from deployments.metrics.region import Box, region_for
from deployments.metrics.rules import limit_given, motion_findings
from deployments.metrics.scale import Grey, grey_of
from deployments.metrics.shelf import Shelf
from serve_app.core.score import Verdict
from tests.metrics.pictures import subject

SMALL: Grey = np.asarray(cv2.resize(grey_of(subject("face:1").pixels), (160, 90), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def null() -> Null:
    return null_of(SMALL, region_for((90, 160), None), 4)


def test_it_measures_what_legitimate_motion_does(null: Null) -> None:
    assert set(null.expected) == set(MEASURES)
    assert all(np.isfinite(value) for value in null.expected.values())
    assert null.expected["bent"] > 0


def test_the_same_picture_gives_the_same_null(null: Null) -> None:
    assert null_of(SMALL, region_for((90, 160), None), 4) == null


def source(nulls: Nulls, grey: Grey, box: Box | None = None) -> str:
    found = nulls.of(grey, box, 1)
    assert found is not None
    return found.source


def test_it_keeps_the_last_pictures_alone() -> None:
    nulls = Nulls(most=2)
    for shade in (0, 1, 2):
        assert source(nulls, SMALL + np.uint8(shade)) == "made"
    assert source(nulls, SMALL + np.uint8(2)) == "known"
    assert source(nulls, SMALL) == "made"


def test_face_and_number_of_clips_are_part_of_the_key() -> None:
    nulls = Nulls()
    assert source(nulls, SMALL) == "made"
    assert source(nulls, SMALL, (0.2, 0.2, 0.5, 0.5)) == "made"
    assert nulls.of(SMALL, None, 0) is None


def test_who_asks_while_it_is_made_waits_and_makes_no_other() -> None:
    nulls = Nulls()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: nulls.of(SMALL, None, 2), range(4)))
    assert sorted(each.source for each in found if each is not None).count("made") == 1
    assert len({id(each.null) for each in found if each is not None}) == 1


def test_one_that_could_not_be_made_is_made_by_the_next_who_asks() -> None:
    nulls = Nulls()
    with pytest.raises(ValueError):
        nulls.of(SMALL, None, -1)
    assert source(nulls, SMALL) == "made"


def test_a_disk_that_keeps_nothing_costs_a_log_line_and_no_null(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "nulls"
    blocked.write_text("a file where the directory should be")
    assert source(Nulls(shared=blocked), SMALL) == "made"
    assert "a null is not kept" in caplog.text


def test_another_replica_finds_it_on_disk(tmp_path: Path) -> None:
    first, second = (Nulls(shared=tmp_path / "nulls") for _ in range(2))
    made, known = first.of(SMALL, None, 1), second.of(SMALL, None, 1)
    assert made is not None
    assert known is not None
    assert (made.source, known.source) == ("made", "known")
    assert made.null == known.null


def test_a_broken_file_is_made_anew(tmp_path: Path) -> None:
    assert source(Nulls(shared=tmp_path), SMALL) == "made"
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for broken in (b"", whole[:-5], b"[]", b'{"expected": {}, "clips": 1}'):
        file.write_bytes(broken)
        assert source(Nulls(shared=tmp_path), SMALL) == "made"
        assert file.read_bytes() == whole


def test_the_oldest_files_go_when_there_are_too_many(tmp_path: Path, null: Null) -> None:
    shelf = Shelf(tmp_path, most=4)
    for number in range(5):
        shelf.put(f"{number:064x}", null)
        os.utime(tmp_path / f"{number:064x}.json", (number, number))
    assert len(list(tmp_path.iterdir())) <= 4
    assert shelf.get(f"{0:064x}") is None
    assert shelf.get(f"{4:064x}") == null


def test_it_moves_a_warning_within_half_and_twice(null: Null) -> None:
    limits = ClipLimits()
    assert limits.bent_warn
    for expected, ratio in ((0.0, 0.5), (1000.0, 2.0)):
        moved = limit_given("bent", limits, Null({**null.expected, "bent": expected}, 4))
        assert moved.warn == pytest.approx(ratio * limits.bent_warn)
        assert (moved.fail or 0) >= (moved.warn or 0)


def test_it_never_makes_a_failure_stricter(null: Null) -> None:
    limits = ClipLimits()
    assert limit_given("bent", limits, Null({**null.expected, "bent": 0.01}, 4)).fail == limits.bent_fail
    assert limit_given("bent", limits, Null({**null.expected, "bent": 3.0}, 4)).fail == 12


def test_a_limit_that_is_off_stays_off(null: Null) -> None:
    limit = limit_given("bent", ClipLimits(bent_warn=None, bent_fail=None), null)
    assert (limit.warn, limit.fail) == (None, None)


@pytest.mark.parametrize(("torn", "verdict"), [(0.1, Verdict.WARN), (0.3, Verdict.FAIL)])
def test_blur_is_not_taken_for_somebody_else_unless_it_is(torn: float, verdict: Verdict) -> None:
    readings = {"torn": Reading(torn, 3), "detail": Reading(2.0, 3)}
    found = {finding.detector: finding.verdict for finding in motion_findings(readings, ClipLimits(), None)}
    assert found == {"identity": verdict, "detail": Verdict.FAIL}
