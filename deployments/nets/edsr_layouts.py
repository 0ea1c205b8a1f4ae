"""What EDSR's tensors are called elsewhere, and the network that they make.

Sources: sanghyun-son/EDSR-PyTorch (MIT), eugenesiow/super-image (Apache-2.0), which names them alike, and
XPixelGroup/BasicSR (Apache-2.0), file basicsr/archs/edsr_arch.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from deployments.nets.edsr import EdsrConfig

Layout = Literal["edsr-pytorch", "basicsr"]

_PREFIXES = ("module.", "model.")
"""What DataParallel and EDSR-PyTorch's own wrapper put before every name."""
WIDE = 256
"""Channels from which on the published networks multiply their residuals by 0.1 (paper, section 3.3)."""


@dataclass(frozen=True)
class Renamed:
    """Tensors by our names, the shape they tell of, and what they say of the units (None where they do not)."""

    layout: Layout
    blocks: int
    features: int
    scale: int
    tensors: Mapping[str, Tensor]
    value_range: float | None = None

    def config(self, residual_scale: float | None) -> EdsrConfig:
        """Return the configuration, its units those of EDSR-PyTorch; None takes the published residual scale."""
        usual = 0.1 if self.features >= WIDE else 1.0
        scale = usual if residual_scale is None else residual_scale
        return EdsrConfig(self.blocks, self.features, self.scale, scale)


def renamed(state: Mapping[str, Tensor]) -> Renamed:
    """Return a checkpoint's tensors under our names; raise ValueError naming what is missing, strange or left over."""
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if "conv_first.weight" in state:
        return _basicsr(state)
    if "head.0.weight" in state:
        return _edsr_pytorch(state)
    shown = ", ".join(sorted(state)[:3])
    raise ValueError(f"tensors of no EDSR layout that is known ({shown}, ...)")


def _edsr_pytorch(state: Mapping[str, Tensor]) -> Renamed:
    blocks = _count(state, r"body\.(\d+)\.body\.0\.weight")
    names = {"head.0": "head", f"body.{blocks}": "body_end", "tail.1": "last"}
    for block in range(blocks):
        names |= {f"body.{block}.body.0": f"body.{block}.conv1", f"body.{block}.body.2": f"body.{block}.conv2"}
    ups = _numbered(state, r"tail\.0\.(\d+)\.weight")
    names |= {f"tail.0.{number}": f"up.{index}" for index, number in enumerate(ups)}
    means = {key for key in state if key.startswith(("sub_mean.", "add_mean."))}
    rest = {key: tensor for key, tensor in state.items() if key not in means}
    return _made("edsr-pytorch", rest, names, blocks, _stated_range(state))


def _basicsr(state: Mapping[str, Tensor]) -> Renamed:
    blocks = _count(state, r"body\.(\d+)\.conv1\.weight")
    names = {"conv_first": "head", "conv_after_body": "body_end", "conv_last": "last"}
    for block in range(blocks):
        names |= {f"body.{block}.{conv}": f"body.{block}.{conv}" for conv in ("conv1", "conv2")}
    ups = _numbered(state, r"upsample\.(\d+)\.weight")
    names |= {f"upsample.{number}": f"up.{index}" for index, number in enumerate(ups)}
    return _made("basicsr", state, names, blocks, None)


def _made(
    layout: Layout, state: Mapping[str, Tensor], names: Mapping[str, str], blocks: int, value_range: float | None
) -> Renamed:
    tensors = {}
    for theirs, ours in names.items():
        for part in ("weight", "bias"):
            if f"{theirs}.{part}" not in state:
                raise ValueError(f"{theirs}.{part} is missing")
            tensors[f"{ours}.{part}"] = state[f"{theirs}.{part}"].float()
    strange = sorted(set(state) - {f"{theirs}.{part}" for theirs in names for part in ("weight", "bias")})
    if strange:
        raise ValueError(f"{strange[0]} belongs to no EDSR")
    return Renamed(layout, blocks, len(tensors["head.bias"]), _scale(tensors), tensors, value_range)


def _scale(tensors: Mapping[str, Tensor]) -> int:
    """Return the product of the pixel shuffles: 3 is one of nine times the channels, 2 and 4 are of four times."""
    scale, features = 1, len(tensors["head.bias"])
    for name, bias in tensors.items():
        if re.fullmatch(r"up\.\d+\.bias", name):
            factor = {4 * features: 2, 9 * features: 3}.get(len(bias))
            if factor is None:
                raise ValueError(f"{features} features become {len(bias)}, which is neither x2 nor x3")
            scale *= factor
    if scale == 1:
        raise ValueError("nothing in it enlarges")
    return scale


def _stated_range(state: Mapping[str, Tensor]) -> float | None:
    """Return the range that ``sub_mean`` was made for: its bias is minus the mean, in the range's units."""
    bias = state.get("sub_mean.bias")
    if bias is None or bias.numel() != 3:
        return None
    return 255.0 if float(bias.abs().max()) > 1 else 1.0


def _numbered(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    return sorted(int(found[1]) for key in state if (found := re.fullmatch(pattern, key)))


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    numbers = _numbered(state, pattern)
    if not numbers or numbers != list(range(len(numbers))):
        raise ValueError(f"its residual blocks are numbered {numbers[:5]}, not from 0 without a gap")
    return len(numbers)
