"""Whether an EDSR network enlarges at all: a small photograph, reduced, must come back no worse than bicubic leaves it.

Weights in the wrong units load without complaint and give grey mush, or a picture that is only a little wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from deployments.nets.edsr import Edsr

PICTURE = Path(__file__).with_name("edsr_probe.png")
"""144 x 144 px of NASA's portrait of astronaut Eileen Collins, public domain."""
ALLOWED_LOSS_DB = 1.0
"""How far below bicubic a network may end: those for noisy pictures do, and those in wrong units end lower."""
_ALIKE_DB = 0.2
_BORDER_PX = 8


def gain_db(network: Edsr) -> float:
    """Return by how much ``network`` is closer to the photograph than bicubic, in dB of RGB; -inf for no numbers."""
    truth = np.asarray(Image.open(PICTURE).convert("RGB"))
    side = truth.shape[0] // network.config.scale * network.config.scale
    truth = truth[:side, :side]
    small = Image.fromarray(truth).resize((int(side / network.config.ratio),) * 2, Resampling.BICUBIC)
    bicubic = np.asarray(small.resize((side, side), Resampling.BICUBIC))
    weight = network.head.weight
    x = torch.tensor(np.asarray(small), device=weight.device).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        large: Tensor = network(x).clamp(0, 1)[0].permute(1, 2, 0) * 255
    gain = _psnr(large.cpu().numpy(), truth) - _psnr(bicubic, truth)
    return gain if math.isfinite(gain) else -math.inf


def fitting(candidates: Iterable[tuple[str, Edsr]]) -> tuple[str, ...]:
    """Return the names of the candidates that pass and cannot be told from the best of them, the best first."""
    gains = {name: gain_db(network) for name, network in candidates}
    ordered = sorted(gains, key=gains.__getitem__, reverse=True)
    least = max(gains[ordered[0]] - _ALIKE_DB, -ALLOWED_LOSS_DB)
    return tuple(name for name in ordered if gains[name] >= least)


def _psnr(picture: NDArray[np.generic], truth: NDArray[np.uint8]) -> float:
    inside = slice(_BORDER_PX, -_BORDER_PX)
    error = picture[inside, inside].astype(np.float64) - truth[inside, inside].astype(np.float64)
    return 10 * math.log10(255.0**2 / max(float(np.mean(error**2)), 1e-10))
