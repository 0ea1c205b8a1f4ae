"""The contact sheet: what it shows can be found again in its pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from skimage import data

from deployments.encode.sheet import ContactSheet
from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Image, Pixels
from serve_app.core.resize import cover_resize
from serve_app.core.score import Checkpoint, Finding, Score, Verdict
from tests.deployments.desk import DeskContext

PHOTO = Image(data.astronaut())
GREEN, AMBER, RED = (0x45, 0xC4, 0x86), (0xF0, 0xB2, 0x3E), (0xF2, 0x6D, 0x6D)


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def still(height: int = 90, width: int = 160, frames: int = 9) -> Clip:
    picture = cover_resize(PHOTO.pixels, height, width)
    return Clip(frames=np.repeat(picture[None], frames, axis=0), fps=Fraction(24), model="animatic")


def score(verdict: Verdict = Verdict.PASS, label: str = "OK", reason: str = "frame 8 differs most") -> Score:
    findings = (
        Finding("integrity", Verdict.PASS, 0, "faults", "whole"),
        Finding("fidelity", verdict, 15.67, "levels", reason, frame=8),
    )
    shots = tuple(Checkpoint(frame, 10.0 + frame, "levels", label) for frame in (0, 2, 4, 6, 8))
    return Score("fidelity", 87.5, verdict.name, findings, shots)


def draw(desk: DeskContext, clip: Clip, given: Score, image: Image | None = PHOTO) -> tuple[Artifact, Pixels]:
    stage = ContactSheet()
    stage.load(ContactSheet.Weights(), desk)
    artifact = stage.run(ContactSheet.Params(), clip=clip, score=given, image=image)
    with PillowImage.open(desk.artifacts.path_of(artifact.digest)) as picture:
        return artifact, np.asarray(picture.convert("RGB")).copy()


def share(pixels: Pixels, colour: tuple[int, int, int]) -> int:
    return int((pixels == np.array(colour, np.uint8)).all(axis=2).sum())


def test_the_sheet_is_a_png_of_1600_px_with_its_facts(desk: DeskContext) -> None:
    artifact, pixels = draw(desk, still(), score())
    assert pixels.shape[1] == 1600
    assert (artifact.media_type, artifact.name) == ("image/png", "sheet.png")
    assert artifact.facts == {
        "width": 1600,
        "height": pixels.shape[0],
        "judge": "fidelity",
        "model": "animatic",
        "verdict": "pass",
        "points": 87.5,
    }


def test_the_photo_and_the_frames_are_in_it(desk: DeskContext) -> None:
    _, pixels = draw(desk, still(), score())
    tile = cover_resize(PHOTO.pixels, 276, 490)
    assert np.array_equal(pixels[128 : 128 + 276, 40 : 40 + 490], tile)
    frame = cover_resize(still().frames[0], 276, 490)
    assert np.array_equal(pixels[128 : 128 + 276, 40 + 514 : 40 + 514 + 490], frame)


@pytest.mark.parametrize(
    ("verdict", "colour", "absent"),
    [(Verdict.PASS, GREEN, RED), (Verdict.WARN, AMBER, RED), (Verdict.FAIL, RED, AMBER), (Verdict.REJECT, RED, AMBER)],
)
def test_the_verdicts_colour_is_shown(
    desk: DeskContext, verdict: Verdict, colour: tuple[int, int, int], absent: tuple[int, int, int]
) -> None:
    _, pixels = draw(desk, still(), score(verdict), None)
    assert share(pixels[:128], colour) > 1000
    assert share(pixels[:128], absent) == 0


def test_a_bad_checkpoint_is_marked_under_its_frame(desk: DeskContext) -> None:
    _, pixels = draw(desk, still(), score(label="FAIL"))
    assert share(pixels[128:], RED) > 5 * 400


def test_findings_add_rows_and_long_reasons_more(desk: DeskContext) -> None:
    heights = [
        draw(desk, still(), given)[1].shape[0]
        for given in (score(), score(Verdict.FAIL), score(Verdict.FAIL, reason="much to say " * 30))
    ]
    assert heights == sorted(set(heights))


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (100, 100), (20, 300), (300, 20)])
@pytest.mark.parametrize("image", [PHOTO, None])
def test_every_aspect_has_a_sheet(desk: DeskContext, height: int, width: int, image: Image | None) -> None:
    _, pixels = draw(desk, still(height, width), score(), image)
    assert pixels.shape[1] == 1600
    assert pixels.std() > 5


def test_a_judge_without_checkpoints_has_frames_shown_without_values(desk: DeskContext) -> None:
    plain = Score("other", 100.0, "OK", ())
    _, pixels = draw(desk, still(), plain, None)
    assert np.array_equal(pixels[128 : 128 + 276, 40 : 40 + 490], cover_resize(still().frames[0], 276, 490))
    assert share(pixels[128:], GREEN) == 0


def test_a_single_frame_has_a_sheet(desk: DeskContext) -> None:
    assert draw(desk, still(frames=1), Score("other", 0.0, "", ()))[0].size_bytes > 1000


def test_the_same_inputs_give_the_same_bytes(desk: DeskContext) -> None:
    assert draw(desk, still(), score())[0].digest == draw(desk, still(), score())[0].digest


def test_names_of_any_script_and_length_are_drawn(desk: DeskContext) -> None:
    from dataclasses import replace

    assert draw(desk, replace(still(), model="模型/" + "long" * 40), score(Verdict.WARN, reason="größer 很大"))


def test_an_empty_clip_is_refused(desk: DeskContext) -> None:
    empty = Clip(frames=np.zeros((0, 4, 4, 3), np.uint8), fps=Fraction(24), model="none")
    with pytest.raises(InvalidInput):
        draw(desk, empty, score())
