"""The whole examination of one picture, from its pixels to its score."""

from __future__ import annotations

import numpy as np

from deployments.metrics import still
from deployments.metrics.findings import Reading, capped, label_of
from deployments.metrics.integrity import empty
from deployments.metrics.limits import StillLimits
from deployments.metrics.region import Box
from deployments.metrics.rules import frame_findings, settled
from deployments.metrics.scale import STILL_AREA_PX, Grey, grey_of, scaled, size_for
from deployments.metrics.seed_score import seed_score
from serve_app.core.media import Pixels
from serve_app.core.score import Finding, Score, Verdict


def picture_score(pixels: Pixels, limits: StillLimits, face: Box | None = None) -> Score:
    """Return the score of a picture ``(H, W, 3)`` with a ``face``; a picture without pixels is rejected."""
    height, width = pixels.shape[:2]
    if not pixels.size:
        whole = Finding("integrity", Verdict.REJECT, 1.0, "faults", f"{width}x{height} px is no picture", fail_at=1.0)
        return Score("image", 0.0, label_of(whole.verdict, 0), (whole,))
    whole = Finding("integrity", Verdict.PASS, 0.0, "faults", f"{width}x{height} px, whole", fail_at=1.0)
    grey = grey_of(pixels)
    brightness, contrast = still.light(grey)
    found = readings(pixels, face)
    findings = settled(
        [
            whole,
            empty("black", "mean luma", np.array([brightness]), limits.black_below),
            empty("blank", "contrast (deviation of luma)", np.array([contrast]), limits.blank_below),
            *frame_findings(found, limits, None),
        ]
    )
    points = capped(seed_score(found["blur"].value, brightness, contrast), findings)
    measures = {name: reading.value for name, reading in found.items()}
    laplacian = still.laplacian_variance(grey)
    measures |= {"sharpness": laplacian, "brightness": brightness, "contrast": contrast}
    measures |= {
        "colourfulness": still.colourfulness(pixels),
        "seed_score": seed_score(laplacian, brightness, contrast),
    }
    verdict = max(finding.verdict for finding in findings)
    return Score("image", points, label_of(verdict, points), findings, (), measures)


def readings(pixels: Pixels, face: Box | None = None) -> dict[str, Reading]:
    """Return what a picture shows. ``blur`` is S_eff: the Laplacian's variance and LoG1c at 1024x1024 px, see
    `still`; ``face_blur`` is that of the ``face`` alone, where there is one."""
    grey = grey_of(pixels)
    shape, noise = (grey.shape[0], grey.shape[1]), still.noise_sigma(grey)
    size = size_for(*shape, STILL_AREA_PX)
    same_size = scaled(grey, size)
    gain = still.log_noise_gain(shape, size)
    log1c = still.log_variance(same_size, noise, gain)
    brightness, _ = still.light(grey)
    spread = still.tones(grey)
    values = {
        "blur": still.effective_sharpness(still.laplacian_variance(same_size), log1c),
        "log1c": log1c,
        "noise": noise,
        "dark": brightness,
        "bright": brightness,
        "clipped": spread.crushed + spread.blown,
        "tones": spread.bits,
        "blocks": still.blockiness(grey),
        "banding": still.banding(grey),
    }
    if face is not None:
        part = np.ascontiguousarray(_cut(same_size, face))
        soft = still.log_variance(part, noise, gain)
        values["face_blur"] = still.effective_sharpness(still.laplacian_variance(part), soft)
    return {name: Reading(value, 0) for name, value in values.items()}


def _cut(grey: Grey, box: Box) -> Grey:
    """Return what lies in ``box``, a pixel at least."""
    (x, y, wide, tall), (height, width) = box, grey.shape
    left, top = min(width - 1, int(x * width)), min(height - 1, int(y * height))
    return grey[top : max(top + 1, int((y + tall) * height)), left : max(left + 1, int((x + wide) * width))]
