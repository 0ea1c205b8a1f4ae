"""One file judged: opened by its first bytes, and put before the same stage that judges in a graph."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from deployments.metrics.findings import capped, label_of
from serve_app.artifacts.local import LocalArtifacts
from serve_app.commands.judging.judgement import Judgement
from serve_app.commands.judging.shots import picture_shots, shots_of
from serve_app.config import AppConfig, StageConfig, plans_of
from serve_app.core.errors import GreenlightError, InvalidInput, TooLarge
from serve_app.core.filetype import FileType, mislabelled, type_of
from serve_app.core.footage import Bounds, is_animation, read_clip
from serve_app.core.media import Clip, Image
from serve_app.core.picture import STILLS, read_picture
from serve_app.core.score import Finding, Score, Verdict
from serve_app.graph.callers import Call, InProcess
from serve_app.graph.host import Place
from serve_app.graph.record import Called, Resources

Tell = Callable[[int, int], None]

PIPELINES = ("judge-image", "judge-video")
STAGES = ("judge.image", "judge.video")
FILE_BYTES = 4 << 30
"""A larger file is not read."""
_NODE = "judge"
_NO_EFFECT = "a still is judged by itself: reference, face box and null have no effect on it"


@dataclass(frozen=True)
class Wishes:
    """What a caller says beside the files: a picture to compare clips with, where the face is, and what is too large.

    None leaves the pipeline's own default in place. ``stages``: weights of `STAGES`, as a profile has them.
    """

    reference: Image | None = None
    face_box: str | None = None
    null_clips: int | None = None
    bounds: Bounds = field(default_factory=Bounds)
    stages: Mapping[str, StageConfig] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """The inputs of `judge-video` that were wished for."""
        named = {"image": self.reference, "face_box": self.face_box, "null_clips": self.null_clips}
        return {name: value for name, value in named.items() if value is not None}


class Examiner:
    """Judges files one after another; the stages are loaded once and remember pictures. ``folder`` is for scratch."""

    def __init__(self, folder: Path, wishes: Wishes) -> None:
        self._wishes = wishes
        threads = os.cpu_count() or 1
        place = Place("cpu", threads, Resources(cpus=threads), LocalArtifacts(folder / "artifacts"), folder / "scratch")
        self._caller = InProcess(lambda deployment: place)
        self._plans = plans_of(AppConfig(pipelines=PIPELINES, stages=dict(wishes.stages)))
        pixel = Clip(np.zeros((1, 1, 1, 3), np.uint8), Fraction(1), "")
        # What is wrong with the wishes is told before any file is read.
        self._plans["judge-video"].bind({"clip": pixel, **wishes.given})

    def judge(self, path: Path, tell: Tell) -> Judgement:
        """Return what the judge says of a file; an error is part of that. ``tell`` hears (frames seen, frames)."""
        blank = Judgement(path, "unknown", 0)
        try:
            blank = replace(blank, size_bytes=path.stat().st_size)
            if blank.size_bytes > FILE_BYTES:
                raise TooLarge("file", f"it is {blank.size_bytes} bytes, and the limit is {FILE_BYTES}")
            data = path.read_bytes()
            kind = type_of(data)
            if kind is None:
                raise InvalidInput("file", "it is empty" if not data else "it is no picture and no video that we know")
            blank = replace(blank, kind=kind.name)
            is_clip = bool(kind.demuxer) or is_animation(data, kind)
            judged = self._clip(blank, data, tell) if is_clip else self._still(blank, data, tell)
        except OSError as error:
            return replace(blank, error=("unreadable", f"it cannot be read: {error.strerror}"))
        except GreenlightError as error:
            # The field is the file, which stands beside it already.
            return replace(blank, error=(error.code, str(error).removeprefix("file: ")))
        return _as_named(judged, kind)

    def _still(self, blank: Judgement, data: bytes, tell: Tell) -> Judgement:
        image = read_picture(data, max_px=self._wishes.bounds.frame_px, field="file", kinds=STILLS)
        score, warnings = self._asked("judge-image", {"image": image}, tell)
        facts = {"width": image.width, "height": image.height}
        warnings += (_NO_EFFECT,) if self._wishes.given else ()
        return replace(blank, facts=facts, score=score, warnings=warnings, shots=picture_shots(image))

    def _clip(self, blank: Judgement, data: bytes, tell: Tell) -> Judgement:
        clip = read_clip(data, self._wishes.bounds, "file")
        score, warnings = self._asked("judge-video", {"clip": clip, **self._wishes.given}, tell)
        shape = clip.shape
        facts: dict[str, Any] = {"width": shape.width, "height": shape.height, "frames": shape.frames}
        facts |= {"fps": str(clip.fps), "duration_s": round(clip.duration_s, 3)}
        shots = shots_of(clip, score, self._wishes.reference)
        return replace(blank, facts=facts, score=score, warnings=warnings, shots=shots)

    def _asked(self, pipeline: str, given: Mapping[str, Any], tell: Tell) -> tuple[Score, tuple[str, ...]]:
        """Call the one step of a judging pipeline; return its score and warnings."""
        bound = self._plans[pipeline].bind(given)
        step = next(step for step in bound.plan.steps if step.node == _NODE)
        values = {port: bound.inputs[source.name] for port, source in step.takes.items()}
        some = {port: value for port, value in values.items() if value is not None}
        called: Called = asyncio.run(self._caller.call(Call(step, bound.params[_NODE], some, tell)))
        return called.value, called.record.warnings


def _as_named(judged: Judgement, kind: FileType) -> Judgement:
    """Add a warning to a score whose file claims to be something else: a player that believes its name will fail."""
    claim, score = mislabelled(judged.path.name, kind), judged.score
    if claim is None or score is None:
        return judged
    findings = (*score.findings, Finding("container", Verdict.WARN, 1.0, "faults", claim, warn_at=0.0))
    points, verdict = capped(score.points, findings), max(finding.verdict for finding in findings)
    return replace(judged, score=replace(score, findings=findings, points=points, label=label_of(verdict, points)))
