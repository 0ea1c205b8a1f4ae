"""Antialiased resampling: torch's own where it has the kernel, and Lanczos as two matrix products where it has not."""

import torch
from torch import Tensor
from torch.nn import functional

from deployments.nets.sizing import Size

_LOBES = 3


def resize(pixels: Tensor, size: Size, kernel: str) -> Tensor:
    """Return uint8 ``(N, 3, H, W)`` at ``size``, antialiased; itself if that is its size.

    Never an area average: it would throw away 1 dB of what a network gained.
    """
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    if not pixels.is_cuda:
        return functional.interpolate(pixels, size, mode=kernel, antialias=True)
    if kernel == "lanczos":  # torch has it for the CPU only
        return resample_levels(pixels, size)
    return to_levels(functional.interpolate(pixels.float(), size, mode=kernel, antialias=True))


def to_levels(values: Tensor) -> Tensor:
    """Return float values of 0..255 as uint8, rounded to the nearest, what is beyond cut off."""
    return values.round_().clamp_(0, 255).to(torch.uint8)


def resample_levels(pixels: Tensor, size: Size) -> Tensor:
    """Return what torch's kernel for the CPU gives, within two levels: uint8 also between the columns and the rows.

    Kept as floats there, an overshoot would go into its neighbours instead of being cut off: up to 20 levels.
    """
    wide = to_levels(resample(pixels.float(), pixels.shape[-2], size[1]))
    return to_levels(resample(wide.float(), *size))


def resample(x: Tensor, height: int, width: int) -> Tensor:
    """Resize float ``(..., H, W)`` to ``(..., height, width)``, in px.

    The kernel widens when shrinking, as Pillow's does. It overshoots: values may leave the input's range beside edges.
    """
    if x.shape[-1] != width:
        x = x @ _weights(x.shape[-1], width).to(x).T
    return x if x.shape[-2] == height else _weights(x.shape[-2], height).to(x) @ x


def _weights(source: int, target: int) -> Tensor:
    """Return ``(target, source)``: how much of each source px each target px holds; rows sum to 1."""
    ratio = source / target
    reach = max(ratio, 1.0)
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * ratio
    distance = (torch.arange(source, dtype=torch.float64) + 0.5 - centres[:, None]) / reach
    weights = torch.sinc(distance) * torch.sinc(distance / _LOBES) * (distance.abs() < _LOBES)
    return weights / weights.sum(dim=1, keepdim=True)
