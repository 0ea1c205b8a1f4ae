"""The whole examination of one picture, from its pixels to its score."""

from __future__ import annotations

import numpy as np

from deployments.metrics import still
from deployments.metrics.findings import Reading, capped, label_of
from deployments.metrics.integrity import empty
from deployments.metrics.limits import StillLimits
from deployments.metrics.rules import frame_findings, settled
from deployments.metrics.scale import STILL_AREA_PX, grey_of, scaled, size_for
from deployments.metrics.seed_score import seed_score
from serve_app.core.media import Pixels
from serve_app.core.score import Finding, Score, Verdict


def picture_score(pixels: Pixels, limits: StillLimits) -> Score:
    """Return the score of a picture ``(H, W, 3)``; a picture without pixels is rejected."""
    height, width = pixels.shape[:2]
    if not pixels.size:
        whole = Finding("integrity", Verdict.REJECT, 1.0, "faults", f"{width}x{height} px is no picture", fail_at=1.0)
        return Score("image", 0.0, label_of(whole.verdict, 0), (whole,))
    whole = Finding("integrity", Verdict.PASS, 0.0, "faults", f"{width}x{height} px, whole", fail_at=1.0)
    grey = grey_of(pixels)
    brightness, contrast = still.light(grey)
    found = readings(pixels)
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


def readings(pixels: Pixels) -> dict[str, Reading]:
    """Return what a picture shows. ``blur`` is S_eff: the Laplacian's variance and LoG1c at 1024x1024 px, see
    `still`."""
    grey = grey_of(pixels)
    shape, noise = (grey.shape[0], grey.shape[1]), still.noise_sigma(grey)
    size = size_for(*shape, STILL_AREA_PX)
    same_size = scaled(grey, size)
    log1c = still.log_variance(same_size, noise, still.log_noise_gain(shape, size))
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
    return {name: Reading(value, 0) for name, value in values.items()}
