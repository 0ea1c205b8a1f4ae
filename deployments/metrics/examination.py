"""The whole examination of a clip, from its frames to its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deployments.metrics import readings as read
from deployments.metrics.findings import Reading, capped, label_of
from deployments.metrics.integrity import Asked, empty, integrity
from deployments.metrics.limits import ClipLimits
from deployments.metrics.looks import Looks, looks_of
from deployments.metrics.nulls import Nulls
from deployments.metrics.region import Box, Region, region_for
from deployments.metrics.rules import frame_findings, motion_findings, settled
from deployments.metrics.scale import grey_of, scaled
from deployments.metrics.seed_score import checkpoints_of, classic_label, pixel_diff, seed_score
from deployments.metrics.still import laplacian_variance, light, noise_sigma
from deployments.metrics.warp import photo_of
from serve_app.core.media import Clip, Pixels
from serve_app.core.score import Checkpoint, Finding, Score, Verdict


@dataclass(frozen=True)
class Case:
    """A clip to judge: what was asked, its limits, ``photo`` as covered to the frame (or None), and where the face
    is."""

    clip: Clip
    photo: Pixels | None
    limits: ClipLimits
    asked: Asked
    face: Box | None = None
    null_clips: int = 0


class Examination:
    """One clip being judged. ``nulls`` remembers pictures; ``each`` is told (frames seen, frames)."""

    def __init__(self, case: Case, nulls: Nulls, each: Callable[[int, int], None]) -> None:
        self._case, self._nulls, self._each = case, nulls, each

    def score(self) -> Score:
        """Return the score. A clip of fewer than two frames is not looked at any further."""
        whole = integrity(self._case.clip, self._case.asked)
        if whole.verdict is Verdict.REJECT:
            return Score("video", 0.0, label_of(whole.verdict, 0), (whole,))
        frames = self._case.clip.frames
        looks = looks_of(frames, lambda seen: self._each(seen, len(frames)))
        found, measures = self._found(looks)
        findings = settled([whole, *found])
        checkpoints = self._checkpoints()
        measures |= self._classic(checkpoints)
        points = capped(looks.points, findings)
        verdict = max(finding.verdict for finding in findings)
        return Score("video", points, label_of(verdict, points), findings, checkpoints, measures)

    def _found(self, looks: Looks) -> tuple[list[Finding], dict[str, float]]:
        limits = self._case.limits
        frame, step = read.frame_readings(looks), read.step_readings(looks, limits.duplicate_below)
        findings = [
            empty("black", "mean luma", looks.luma, limits.black_below),
            empty("blank", "contrast (deviation of luma)", looks.contrast, limits.blank_below),
        ]
        region, reference, source = self._reference(looks)
        warped = read.passage_readings(looks, region, float(self._case.clip.fps)) | read.reference_readings(
            looks, reference, region
        )
        since = self._since(looks, reference, region, warped)
        warped |= {name: Reading(warped[name].value, since) for name in ("torn", "lost")}
        null = self._nulls.of(reference.grey, self._case.face, self._case.null_clips)
        findings += frame_findings(frame, limits, source)  # first: what is too dark or too coarse to follow is not lost
        findings += motion_findings(step | warped, limits, null)
        measures = {name: reading.value for name, reading in (frame | step | warped).items()}
        if null is not None:
            measures |= {f"null_{name}": value for name, value in null.expected.items()}
        return findings, measures

    def _reference(self, looks: Looks) -> tuple[Region, read.Reference, dict[str, Reading] | None]:
        """Return where to look, what to compare with, and the input picture's own flaws."""
        size = (looks.greys[0].shape[0], looks.greys[0].shape[1])
        region = region_for(size, self._case.face)
        if self._case.photo is None:
            own = looks.greys[0]
            return region, read.Reference(photo_of(own, noise_sigma(own)), own, True), None
        full = grey_of(self._case.photo)
        grey = scaled(full, size)
        reference = read.Reference(photo_of(grey, noise_sigma(grey)), grey, False)
        alone = looks_of(self._case.photo[None], lambda _: None)
        return region, reference, read.frame_readings(alone)

    def _since(self, looks: Looks, reference: read.Reference, region: Region, found: read.Readings) -> int | None:
        """Return the frame since when the picture is another one: the cut's, or since half of it is torn."""
        limits, torn, cut = self._case.limits, found["torn"], found["cut"]
        if limits.cut_fail is not None and cut.value > limits.cut_fail:
            return cut.frame
        if limits.torn_warn is None or torn.value <= limits.torn_warn:
            return torn.frame
        return read.onset(looks, reference, region, torn.value / 2)

    def _checkpoints(self) -> tuple[Checkpoint, ...]:
        photo, frames = self._case.photo, self._case.clip.frames
        if photo is None:
            return ()
        found = [(at, pixel_diff(frames[at], photo)) for at in checkpoints_of(len(frames))]
        return tuple(Checkpoint(at, value, "levels", classic_label(value)) for at, value in found)

    def _classic(self, checkpoints: tuple[Checkpoint, ...]) -> dict[str, float]:
        """Return the classic score of the middle frame, and the classic differences. They decide nothing."""
        frames = self._case.clip.frames
        grey = grey_of(frames[len(frames) // 2])
        found = {"seed_score": seed_score(laplacian_variance(grey), *light(grey))}
        if checkpoints:
            values = [checkpoint.value for checkpoint in checkpoints]
            found |= {"pixel_diff_mean": sum(values) / len(values), "pixel_diff_max": max(values)}
        return found
