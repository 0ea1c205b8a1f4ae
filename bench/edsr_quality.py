"""What does the bundled upscaler gain over interpolation, on pictures it never saw? `python -m bench.edsr_quality`

PSNR in dB of luma, x2 and x1.5 through the stage as it is served, beside Pillow's bicubic and Lanczos. Each held-out
photograph of scikit-image is first reduced, antialiased; the last line gives the means over pictures and reductions.
"""

from __future__ import annotations

import statistics
import tempfile
from fractions import Fraction
from pathlib import Path

from PIL.Image import Resampling

from bench.record import emit
from deployments.nets.training.pictures import HELD_OUT, REDUCTIONS, Picture, photograph, psnr_y, resize
from deployments.upscale.edsr import Edsr
from serve_app.core.media import Clip
from tests.deployments.desk import DeskContext

SCALES = {"x2": Fraction(2), "x1.5": Fraction(3, 2)}


def paths(stage: Edsr, small: Picture, height: int, width: int) -> dict[str, Picture]:
    """Return ``small`` at ``height`` x ``width`` px by every way to get there."""
    params = Edsr.Params(width=width, height=height)
    return {
        "bicubic": resize(small, height, width, Resampling.BICUBIC),
        "lanczos": resize(small, height, width, Resampling.LANCZOS),
        "edsr": stage.run(params, clip=Clip(small[None], Fraction(24), "still")).frames[0],
    }


def measure(stage: Edsr, name: str, scale: Fraction, reduction: str) -> dict[str, float]:
    """Return the PSNR-Y in dB of every way back from ``name`` reduced by ``scale``."""
    step = scale.numerator  # sizes that the scale divides exactly
    truth = photograph(name)
    truth = truth[: truth.shape[0] // step * step, : truth.shape[1] // step * step]
    height, width = truth.shape[:2]
    fine = truth
    if reduction == "area":  # a box over whole pixels only: at x1.5 each pixel has to be split first
        fine = truth.repeat(scale.denominator, axis=0).repeat(scale.denominator, axis=1)
    small = resize(fine, int(height / scale), int(width / scale), REDUCTIONS[reduction])
    return {path: psnr_y(picture, truth) for path, picture in paths(stage, small, height, width).items()}


def main() -> None:
    """Write one line per picture, scale and reduction, and one of means per scale."""
    stage = Edsr()
    with tempfile.TemporaryDirectory() as directory:
        stage.load(Edsr.Weights(), DeskContext(Path(directory)))
        for label, scale in SCALES.items():
            measured = []
            for name in HELD_OUT:
                for reduction in REDUCTIONS:
                    found = measure(stage, name, scale, reduction)
                    measured.append(found)
                    report(f"{label} {name} {reduction}", found)
            report(f"{label} mean", {path: statistics.fmean(line[path] for line in measured) for path in measured[0]})


def report(case: str, found: dict[str, float]) -> None:
    """Write the PSNRs and the upscaler's gains over both interpolations."""
    emit(
        "edsr_quality",
        case=case,
        bicubic_db=found["bicubic"],
        lanczos_db=found["lanczos"],
        edsr_db=found["edsr"],
        gain_over_bicubic_db=found["edsr"] - found["bicubic"],
        gain_over_lanczos_db=found["edsr"] - found["lanczos"],
    )


if __name__ == "__main__":
    main()
