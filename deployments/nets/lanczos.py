"""Antialiased Lanczos resampling as two matrix products, for devices where torch has no Lanczos kernel."""

import torch
from torch import Tensor

_LOBES = 3


def resample(x: Tensor, height: int, width: int) -> Tensor:
    """Resize float ``(..., H, W)`` to ``(..., height, width)``, in px.

    The kernel widens when shrinking, as Pillow's does. It overshoots: values may leave the input's range beside edges.
    """
    rows, columns = _weights(x.shape[-2], height), _weights(x.shape[-1], width)
    return rows.to(x) @ x @ columns.to(x).T


def _weights(source: int, target: int) -> Tensor:
    """Return ``(target, source)``: how much of each source px each target px holds; rows sum to 1."""
    ratio = source / target
    reach = max(ratio, 1.0)
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * ratio
    distance = (torch.arange(source, dtype=torch.float64) + 0.5 - centres[:, None]) / reach
    weights = torch.sinc(distance) * torch.sinc(distance / _LOBES) * (distance.abs() < _LOBES)
    return weights / weights.sum(dim=1, keepdim=True)
