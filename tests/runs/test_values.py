"""What is remembered of a step, there and back through JSON."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from serve_app.core.artifact import Artifact
from serve_app.core.media import Clip
from serve_app.core.score import Checkpoint, Finding, Score, Verdict
from serve_app.graph.record import Called, Resources, StepRecord
from serve_app.runs.values import from_json, inputs_from_json, inputs_to_json, is_kept, to_json
from tests.graph.tiny import plan

RECORD = StepRecord(
    node="judge",
    stage="judge.test",
    deployment="judge",
    started_s=1_700_000_000.123456,
    seconds=0.1 + 0.2,
    waited_s=0.0,
    resources=Resources(cpus=0.5, gpus=0.15, accelerator="L4"),
    params={"dark": 50.0},
    notes={"level": 3},
    warnings=("careful", "twice"),
    value={"type": "score"},
)
SCORE = Score(
    judge="judge",
    points=81.25,
    label="good",
    findings=(
        Finding("dark", Verdict.WARN, 0.1 + 0.2, "points", "rather dark", 3, 0.25, 0.5),
        Finding("whole", Verdict.PASS, 1.0, "frames", "whole"),
    ),
    checkpoints=(Checkpoint(0, 12.5, "deg", "calm"),),
    measures={"mean": 3.5},
)
ARTIFACT = Artifact("a" * 64, "video/mp4", 12, "video.mp4", {"fps": "24", "frames": 9})


def through_json(called: Called) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(to_json(called), allow_nan=False))
    return document


@pytest.mark.parametrize("value", [SCORE, ARTIFACT], ids=["score", "artifact"])
def test_a_small_value_comes_back_as_it_was(value: Score | Artifact) -> None:
    document = through_json(Called(value, RECORD))
    assert is_kept(document)
    assert from_json(document) == Called(value, RECORD)


def test_of_a_clip_the_record_is_kept_and_no_pixel() -> None:
    clip = Clip(np.zeros((2, 2, 2, 3), np.uint8), Fraction(24), "test")
    document = through_json(Called(clip, RECORD))
    assert not is_kept(document)
    assert StepRecord.from_json(document["record"]) == RECORD
    with pytest.raises(ValueError, match="of judge, a reference, only the record was kept"):
        from_json(document)


def test_a_picture_is_its_artifact_among_the_inputs() -> None:
    photo = {"inputs.image": {"type": "image", "optional": True}, "nodes.draft.take.image": "$image"}
    inputs = {"prompt": "a cat", "seed": 7, "steps": 8, "image": ARTIFACT}
    document = json.loads(json.dumps(inputs_to_json(inputs)))
    assert document["image"]["digest"] == ARTIFACT.digest
    assert inputs_from_json(plan(photo), document) == inputs


def test_a_picture_that_was_left_out_stays_so() -> None:
    photo = {"inputs.image": {"type": "image", "optional": True}, "nodes.draft.take.image": "$image"}
    assert inputs_from_json(plan(photo), {"image": None}) == {"image": None}
