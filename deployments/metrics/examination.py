"""The whole examination of a clip, from its frames to its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deployments.metrics import readings as read
from deployments.metrics.findings import Reading, capped, label_of
from deployments.metrics.integrity import Asked, emptier, empty, integrity
from deployments.metrics.limits import ClipLimits
from deployments.metrics.looks import Looks, looks_of
from deployments.metrics.null import Null
from deployments.metrics.region import Box, Region, region_for
from deployments.metrics.rules import frame_findings, motion_findings, settled
from deployments.metrics.scale import Grey, grey_of, scaled
from deployments.metrics.seed_score import classic_label
from deployments.metrics.series import series_of
from deployments.metrics.sights import Sights
from deployments.metrics.still import noise_sigma
from deployments.metrics.warp import photo_of
from serve_app.core.media import Pixels
from serve_app.core.score import Checkpoint, Finding, Score, Series, Verdict

NullFor = Callable[[Grey], Null | None]


@dataclass(frozen=True)
class Case:
    """A clip to judge: what was asked, its limits, ``photo`` as covered to the frame (or None), and where the face
    is."""

    sights: Sights
    photo: Pixels | None
    limits: ClipLimits
    asked: Asked
    face: Box | None = None
    beside: read.Readings = field(default_factory=dict)
    """What was measured beside: of faces, and against a draft."""


class Examination:
    """One clip being judged. ``null_for`` gives the null of a picture."""

    def __init__(self, case: Case, null_for: NullFor) -> None:
        self._case, self._null_for = case, null_for

    def score(self) -> Score:
        """Return the score. A clip of fewer than two frames is not looked at any further."""
        whole = integrity(self._case.sights.shape, self._case.sights.fps, self._case.asked)
        if whole.verdict is Verdict.REJECT:
            return Score("video", 0.0, label_of(whole.verdict, 0), (whole,))
        looks = self._case.sights.looks
        found, measures, series = self._found(looks)
        findings = settled([whole, *found])
        checkpoints = self._checkpoints()
        measures |= self._classic(checkpoints)
        points = capped(looks.points, findings)
        verdict = max(finding.verdict for finding in findings)
        return Score("video", points, label_of(verdict, points), findings, checkpoints, measures, series)

    def _found(self, looks: Looks) -> tuple[list[Finding], dict[str, float], tuple[Series, ...]]:
        limits = self._case.limits
        frame, step = read.frame_readings(looks), read.step_readings(looks, limits.duplicate_below)
        region, reference, source = self._reference(looks)
        findings = _emptiness(looks, limits, source)
        warped = read.passage_readings(looks, region, float(self._case.sights.fps)) | read.reference_readings(
            looks, reference, region
        )
        since = self._since(looks, reference, region, warped)
        warped |= {name: replace(warped[name], frame=since) for name in ("torn", "lost")}
        null = self._null_for(reference.grey)
        findings += frame_findings(frame, limits, source)  # first: what is too dark or too coarse to follow is not lost
        beside = self._case.beside
        findings += motion_findings(step | warped | beside, limits, null)
        measures = {name: reading.value for name, reading in (frame | step | warped | beside).items()}
        if null is not None:
            measures |= {f"null_{name}": value for name, value in null.expected.items()}
        return findings, measures, series_of(frame | step | warped, limits, null)

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
        found = self._case.sights.differences
        return tuple(Checkpoint(at, value, "levels", classic_label(value)) for at, value in found.items())

    def _classic(self, checkpoints: tuple[Checkpoint, ...]) -> dict[str, float]:
        """Return the classic score of the middle frame, and the classic differences. They decide nothing."""
        found = {"seed_score": self._case.sights.classic}
        if checkpoints:
            values = [checkpoint.value for checkpoint in checkpoints]
            found |= {"pixel_diff_mean": sum(values) / len(values), "pixel_diff_max": max(values)}
        return found


def _emptiness(looks: Looks, limits: ClipLimits, source: read.Readings | None) -> list[Finding]:
    """Return whether there is anything on the frames: measured against the input picture, if that is dark or flat."""
    found = []
    for detector, what, values, below, measure in (
        ("black", "mean luma", looks.luma, limits.black_below, "luma_min"),
        ("blank", "contrast (deviation of luma)", looks.contrast, limits.blank_below, "contrast_min"),
    ):
        word = empty(detector, what, values, below)
        if source is not None:
            word = emptier(word, values, source[measure].value, source["contrast_min"].value)
        found.append(word)
    return found
