"""Between a decoder's floats and uint8: rounded in fp32, and an error instead of a black or white picture."""

from __future__ import annotations

import numpy as np
import torch

from serve_app.core.errors import StageFailed
from serve_app.core.media import Pixels


def require(values: torch.Tensor, what: str, stage: str) -> None:
    """Raise StageFailed of `stage` naming `what` if any of `values` is NaN or infinite. Waits for the device."""
    if not torch.isfinite(values).all():
        raise StageFailed(stage, "NotFinite", f"{what} holds a value that is not a finite number")


def quantise(picture: torch.Tensor) -> Pixels:
    """Return finite `(3, H, W)` in -1..1 as uint8 RGB `(H, W, 3)`, cut to the range and rounded.

    The arithmetic is fp32 also for bf16, whose eight bits would show as bands.
    """
    unit = picture.float().mul(0.5).add(0.5).clamp(0, 1)
    pixels: Pixels = np.ascontiguousarray(unit.mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())
    return pixels
