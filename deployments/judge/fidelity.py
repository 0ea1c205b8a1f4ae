"""The judge that needs no weights: is this a whole, living clip, and does it still look like its photo?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from pydantic import Field

from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Image, Pixels, VideoShape, exact_fps
from serve_app.core.resize import cover_resize
from serve_app.core.score import Checkpoint, Finding, Score, Verdict
from serve_app.core.stage import Context, Strict
from serve_app.core.streaming import Chunk

Levels = npt.NDArray[np.float64]

_CAPS = {Verdict.PASS: 100.0, Verdict.WARN: 74.0, Verdict.FAIL: 49.0, Verdict.REJECT: 20.0}
_LABELS = {Verdict.PASS: "EXCELLENT", Verdict.WARN: "WARN", Verdict.FAIL: "FAIL", Verdict.REJECT: "REJECT"}
_HOPELESS = 0.1
"""Share of black or blank frames beyond which the clip is not one."""
_REPORT_EVERY = 16


@dataclass(frozen=True)
class Glance:
    """What one chunk shows, and the shape and rate of its whole clip.

    One number per frame (``luma``, ``contrast``) or per step between two frames (``steps``, the one into the chunk
    included), in 8-bit levels; ``differences`` from the photo at those checkpoints that lie in the chunk.
    """

    luma: Levels
    contrast: Levels
    steps: Levels
    differences: dict[int, float]
    shape: VideoShape
    fps: Fraction


@dataclass(frozen=True)
class _Frames:
    """The numbers of all chunks together."""

    luma: Levels
    contrast: Levels
    steps: Levels


class Fidelity:
    """Compares a clip with its photo at checkpoints, and looks at every frame for damage (`judge.fidelity`).

    The measure is the mean absolute difference in 8-bit levels, over height, width and RGB, between a frame and the
    photo covered, cropped at the centre and resized to the frame. It is cheap, and the figure that people know, but
    **no** measure of identity: a camera or a subject that moves as it should raises it (a slow pan reaches 30 and
    more), and a face that melts in place hardly does. Read it as "how much changed", and raise ``ok_below`` and
    ``warn_below`` where motion is wanted.

    Findings: ``integrity`` (count, size and rate as asked; at least two frames), ``black``, ``blank``, ``frozen``
    (equal neighbours) and, with a photo, ``fidelity``. Points: 100 less the mean difference as a share of 255, at most
    74 on a warning, 49 on a failure, 20 on a rejection.
    """

    is_cpu_only = True

    wants_before = True

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """Thresholds in 8-bit levels (``frozen_warn``, ``frozen_fail``: shares 0..1).

        A checkpoint's difference is OK below ``ok_below``, WARN below ``warn_below``, else FAIL; ``checkpoints`` is how
        many there are. A frame is black with a mean luma below ``black_below``, blank with a contrast below
        ``blank_below``; two neighbours are duplicates when they differ by less than ``duplicate_below``.

        ``width``, ``height`` (px), ``frames`` and ``fps`` (Hz) are what was asked of the generator; None: anything.
        """

        ok_below: float = Field(20.0, gt=0, le=255)
        warn_below: float = Field(30.0, gt=0, le=255)
        width: int | None = Field(None, ge=1)
        height: int | None = Field(None, ge=1)
        frames: int | None = Field(None, ge=1)
        fps: float | str | None = None
        checkpoints: int = Field(5, ge=2, le=64)
        black_below: float = Field(8.0, ge=0, le=255)
        blank_below: float = Field(3.0, ge=0, le=128)
        duplicate_below: float = Field(0.05, ge=0, le=255)
        frozen_warn: float = Field(0.2, ge=0, le=1)
        frozen_fail: float = Field(0.45, ge=0, le=1)

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput when two thresholds are the wrong way round, or ``fps`` is not a rate."""
        if params.warn_below < params.ok_below:
            raise InvalidInput("warn_below", f"{params.warn_below:g} is below ok_below, {params.ok_below:g}")
        if params.frozen_fail < params.frozen_warn:
            raise InvalidInput("frozen_fail", f"{params.frozen_fail:g} is below frozen_warn, {params.frozen_warn:g}")
        if params.fps is not None:
            exact_fps(params.fps)

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, clip: Clip, image: Image | None = None) -> Score:
        """Return the score of ``clip``; without ``image`` (text to video) there is no ``fidelity`` finding."""
        return self.gather(params, clip=[self.part(params, clip=Chunk.whole(clip), image=image)], image=image)

    def part(self, params: Params, *, clip: Chunk, image: Image | None = None) -> Glance:
        """Look at every frame of one chunk."""
        shape = VideoShape(clip.of, clip.clip.shape.height, clip.clip.shape.width)
        differences = {} if image is None or not clip.clip.frames.size else _differences(params, clip, image)
        return Glance(*self._look(clip), differences, shape, clip.clip.fps)

    def gather(self, params: Params, *, clip: Sequence[Glance], image: Image | None = None) -> Score:
        """Return the score of the clip whose chunks were looked at."""
        self.plan(params)
        shape = clip[0].shape
        findings = [_integrity(params, shape, clip[0].fps)]
        if not shape.frames * shape.height * shape.width:
            return Score("fidelity", 0.0, _LABELS[Verdict.REJECT], tuple(findings))
        luma, contrast, steps = zip(*((part.luma, part.contrast, part.steps) for part in clip), strict=True)
        seen = _Frames(np.concatenate(luma), np.concatenate(contrast), np.concatenate(steps))
        findings += [_black(params, seen), _blank(params, seen), *([_frozen(params, seen)] if seen.steps.size else [])]
        checkpoints: tuple[Checkpoint, ...] = ()
        if image is None:
            self._context.warn("no image was given, so fidelity was not measured")
        else:
            checkpoints = _checkpoints(params, {at: value for part in clip for at, value in part.differences.items()})
            findings.append(_fidelity(params, checkpoints))
        verdict = max(finding.verdict for finding in findings)
        measures = _measures(seen, checkpoints)
        points = min(_CAPS[verdict], 100.0 * (1.0 - measures.get("mean_diff", 0.0) / 255.0))
        label = "OK" if image is None and verdict is Verdict.PASS else _LABELS[verdict]
        return Score("fidelity", points, label, tuple(findings), checkpoints, measures)

    def _look(self, chunk: Chunk) -> tuple[Levels, Levels, Levels]:
        """Return (luma, contrast, steps). Two grey frames are held at a time, a small part of any clip."""
        import cv2

        luma, contrast, steps = [], [], []
        frames = chunk.clip.frames if chunk.clip.frames.size else chunk.clip.frames[:0]
        before = None if chunk.before is None else _grey(chunk.before)
        for index, frame in enumerate(frames):
            grey = _grey(frame)
            mean, deviation = cv2.meanStdDev(grey)
            luma.append(float(mean[0, 0]))
            contrast.append(float(deviation[0, 0]))
            if before is not None:
                steps.append(cv2.norm(grey, before, cv2.NORM_L1) / grey.size)
            before = grey
            if (index + 1) % _REPORT_EVERY == 0 or index + 1 == len(frames):
                self._context.progress(index + 1, len(frames))
        return np.array(luma), np.array(contrast), np.array(steps)


def _grey(frame: Pixels) -> Pixels:
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), np.uint8)


def _integrity(params: Fidelity.Params, shape: VideoShape, fps: Fraction) -> Finding:
    wrong = []
    for name, asked, got in (
        ("frames", params.frames, shape.frames),
        ("width", params.width, shape.width),
        ("height", params.height, shape.height),
        ("fps", None if params.fps is None else exact_fps(params.fps), fps),
    ):
        if asked is not None and asked != got:
            wrong.append(f"{name} is {got}, not {asked}")
    if shape.frames < 2:
        wrong.append(f"{shape.frames} frames make no clip")
    verdict = Verdict.REJECT if wrong else Verdict.PASS
    reason = "; ".join(wrong) or f"{shape} at {float(fps):.5g} fps is whole, and what was asked for"
    return Finding("integrity", verdict, float(len(wrong)), "faults", reason, fail_at=1.0)


def _black(params: Fidelity.Params, seen: _Frames) -> Finding:
    return _damaged("black", "mean luma", seen.luma, params.black_below)


def _blank(params: Fidelity.Params, seen: _Frames) -> Finding:
    return _damaged("blank", "contrast (deviation of luma)", seen.contrast, params.blank_below)


def _damaged(detector: str, what: str, values: Levels, threshold: float) -> Finding:
    """One frame below the threshold fails the clip, a tenth of its frames reject it."""
    low = values < threshold
    worst, count = int(values.argmin()), int(low.sum())
    verdict = Verdict.PASS if count == 0 else Verdict.REJECT if count > _HOPELESS * values.size else Verdict.FAIL
    level = f"{what} is {values[worst]:.1f} of 255 at frame {worst}"
    reason = (
        f"{count} of {values.size} frames are {detector}: {level}"
        if count
        else f"no frame is {detector}: lowest {level}"
    )
    return Finding(detector, verdict, float(values[worst]), "levels", reason, worst, fail_at=threshold)


def _frozen(params: Fidelity.Params, seen: _Frames) -> Finding:
    same = seen.steps < params.duplicate_below
    share = float(same.mean())
    first = int(same.argmax()) + 1 if same.any() else None
    if same.all():
        verdict, reason = Verdict.REJECT, "nothing moves: every frame repeats the first"
    else:
        verdict = (
            Verdict.FAIL if share > params.frozen_fail else Verdict.WARN if share > params.frozen_warn else Verdict.PASS
        )
        reason = f"{int(same.sum())} of {same.size} frames repeat the one before"
    return Finding("frozen", verdict, share, "share", reason, first, params.frozen_warn, params.frozen_fail)


def _differences(params: Fidelity.Params, chunk: Chunk, image: Image) -> dict[int, float]:
    """Measure the difference at those of frames 0, n/4, n/2, ... n-1 (97 frames: 0, 24, 48, 72, 96) that are here."""
    import cv2

    count, height, width = chunk.of, chunk.clip.shape.height, chunk.clip.shape.width
    places = dict.fromkeys(min(count - 1, count * i // (params.checkpoints - 1)) for i in range(params.checkpoints))
    here = {place: place - chunk.first for place in places if 0 <= place - chunk.first < chunk.clip.shape.frames}
    if not here:
        return {}
    photo = cover_resize(image.pixels, height, width)
    frames = {place: np.ascontiguousarray(chunk.clip.frames[index]) for place, index in here.items()}
    return {place: cv2.norm(frame, photo, cv2.NORM_L1) / photo.size for place, frame in frames.items()}


def _checkpoints(params: Fidelity.Params, differences: dict[int, float]) -> tuple[Checkpoint, ...]:
    found = []
    for frame, value in differences.items():
        label = "OK" if value < params.ok_below else "WARN" if value < params.warn_below else "FAIL"
        found.append(Checkpoint(frame, value, "levels", label))
    return tuple(found)


def _fidelity(params: Fidelity.Params, checkpoints: tuple[Checkpoint, ...]) -> Finding:
    worst = max(checkpoints, key=lambda checkpoint: checkpoint.value)
    verdict = {"OK": Verdict.PASS, "WARN": Verdict.WARN, "FAIL": Verdict.FAIL}[worst.label]
    tail = "" if verdict is Verdict.PASS else "; a camera or a subject that moves far has this effect too"
    reason = f"frame {worst.frame} differs most from the photo, by {worst.value:.2f} of 255 levels{tail}"
    limits = (params.ok_below, params.warn_below)
    return Finding("fidelity", verdict, worst.value, "levels", reason, worst.frame, *limits)


def _measures(seen: _Frames, checkpoints: tuple[Checkpoint, ...]) -> dict[str, float]:
    measures = {"min_luma": float(seen.luma.min()), "min_contrast": float(seen.contrast.min())}
    if seen.steps.size:
        measures |= {"motion_mean": float(seen.steps.mean()), "first_step": float(seen.steps[0])}
    if checkpoints:
        values = [checkpoint.value for checkpoint in checkpoints]
        measures |= {"mean_diff": sum(values) / len(values), "max_diff": max(values)}
    return measures
