"""What does the bundled upscaler gain over interpolation, on unseen pictures? `python -m bench.edsr_quality [DIR]`

PSNR in dB of luma, x2 and x1.5 through the stage as it is served, beside Pillow's bicubic and Lanczos. Each held-out
photograph of scikit-image is first reduced, antialiased; the mean is over pictures and reductions. With a folder that
has OpenCV's FSRCNN_x2.pb and ESPCN_x2.pb, those are compared too, at x2; so is a reduction that is not antialiased
(cv2's INTER_CUBIC), which those were trained on and the bundled network was not.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL.Image import Resampling

from bench.record import emit
from deployments.nets.edsr import BUILTIN
from deployments.nets.frozen import Frozen
from deployments.nets.graphdef import read_graph
from deployments.nets.training.pictures import (
    HELD_OUT,
    REDUCTIONS,
    Picture,
    divisible,
    photograph,
    psnr_y,
    reduce,
    resize,
)
from deployments.upscale.edsr import Edsr
from serve_app.core.media import Clip
from tests.deployments.desk import DeskContext

SCALES = {"x2": Fraction(2), "x1.5": Fraction(3, 2)}
RIVALS = ("FSRCNN_x2.pb", "ESPCN_x2.pb")
ALIASED = "cv2 cubic, aliased"
LEAST_MEAN_DB, LEAST_DB = 1.0, -0.1


def loaded(directory: Path, file: str = "small") -> Edsr:
    """Return the stage with the bundled networks, or one of them."""
    stage = Edsr()
    stage.load(Edsr.Weights(file=file), DeskContext(directory))
    return stage


def enlarged(stage: Edsr, small: Picture, truth: Picture) -> Picture:
    """Return ``small`` through the stage at the size of ``truth``."""
    params = Edsr.Params(width=truth.shape[1], height=truth.shape[0])
    large: Picture = stage.run(params, clip=Clip(small[None], Fraction(24), "still")).frames[0]
    return large


def by_luma(network: Frozen, small: Picture) -> Picture:
    """Return ``small`` twice as large as OpenCV's dnn_superres does it: luma by the network, colour by bicubic."""
    luma, *colours = cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb))
    with torch.inference_mode():
        large = network(torch.tensor(luma)[None, None].float() / 255)[0, 0]
    size = (2 * small.shape[1], 2 * small.shape[0])
    others = [cv2.resize(colour, size, interpolation=cv2.INTER_CUBIC) for colour in colours]
    together = cv2.merge([(large * 255).round().clamp(0, 255).byte().numpy(), *others])
    return np.asarray(cv2.cvtColor(together, cv2.COLOR_YCrCb2RGB))


def pairs(scale: Fraction, reductions: tuple[str, ...]) -> list[tuple[str, Picture, Picture]]:
    """Return (name, reduced picture, the picture) of everything that is measured."""
    found = []
    for name in HELD_OUT:
        truth = divisible(photograph(name), scale.numerator)
        for reduction in reductions:
            if reduction == ALIASED:
                size = (int(truth.shape[1] / scale), int(truth.shape[0] / scale))
                small = np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_CUBIC))
            else:
                small = reduce(truth, reduction, scale)
            found.append((f"{name} {reduction}", small, truth))
    return found


def measure(stage: Edsr, small: Picture, truth: Picture) -> dict[str, float]:
    """Return the PSNR-Y in dB of every way back to ``truth``."""
    height, width = truth.shape[:2]
    return {
        "bicubic": psnr_y(resize(small, height, width, Resampling.BICUBIC), truth),
        "lanczos": psnr_y(resize(small, height, width, Resampling.LANCZOS), truth),
        "edsr": psnr_y(enlarged(stage, small, truth), truth),
    }


def against_bicubic(stage: Edsr, twice: Edsr) -> bool:
    """Write one line per picture, scale and reduction, and means per scale; return whether they are accepted."""
    is_accepted = True
    for label, scale in SCALES.items():
        measured = []
        for name, small, truth in pairs(scale, tuple(REDUCTIONS)):
            found = measure(stage, small, truth)
            if scale != 2:
                found["by_twice"] = psnr_y(enlarged(twice, small, truth), truth)
            measured.append(found)
            report(f"{label} {name}", found)
        means = {path: statistics.fmean(line[path] for line in measured) for path in measured[0]}
        worst = min(line["edsr"] - line["bicubic"] for line in measured)
        report(f"{label} mean", means, worst_db=worst)
        is_accepted &= means["edsr"] - means["bicubic"] >= LEAST_MEAN_DB and worst >= LEAST_DB
    return is_accepted


def report(case: str, found: dict[str, float], **more: float) -> None:
    """Write the PSNRs and the upscaler's gains over both interpolations."""
    figures = {f"{path}_db": value for path, value in found.items()}
    gains = {f"gain_over_{path}_db": found["edsr"] - found[path] for path in ("bicubic", "lanczos")}
    emit("edsr_quality", case=case, **figures, **gains, **more)


def against_rivals(stage: Edsr, directory: Path) -> None:
    """Write the mean gain over bicubic of each network for each reduction at x2, and what a picture costs."""
    networks = {name: Frozen(read_graph(directory / name)) for name in RIVALS}
    for reduction in (*REDUCTIONS, ALIASED):
        gains: dict[str, list[float]] = {name: [] for name in ("small", *RIVALS)}
        cpu_s: dict[str, list[float]] = {name: [] for name in gains}
        for _, small, truth in pairs(Fraction(2), (reduction,)):
            bicubic = psnr_y(resize(small, truth.shape[0], truth.shape[1], Resampling.BICUBIC), truth)
            for name in gains:
                started = time.process_time()
                large = enlarged(stage, small, truth) if name == "small" else by_luma(networks[name], small)
                cpu_s[name].append(1e6 * (time.process_time() - started) / (small.shape[0] * small.shape[1]))
                gains[name].append(psnr_y(large, truth) - bicubic)
        for name in gains:
            emit(
                "edsr_quality",
                case=f"x2 {reduction}: {name.removesuffix('_x2.pb')}",
                gain_over_bicubic_db=statistics.fmean(gains[name]),
                worst_db=min(gains[name]),
                cpu_us_per_px=statistics.median(cpu_s[name]),
            )


def main() -> int:
    """Write every line; return 1 if the means or the worst picture are not accepted."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        stage = loaded(Path(directory))
        is_accepted = against_bicubic(stage, loaded(Path(directory), str(BUILTIN["small"])))
        if len(sys.argv) > 1:
            against_rivals(stage, Path(sys.argv[1]))
    return 0 if is_accepted else 1


if __name__ == "__main__":
    sys.exit(main())
