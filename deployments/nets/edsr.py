"""EDSR, the network alone: a residual convolutional upscaler (no serving, no files but its own weights).

Sources: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, arXiv:1707.02921;
the authors' code, sanghyun-son/EDSR-PyTorch (MIT), whose classic tail, 0..255 range and DIV2K mean are the defaults.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
BUILTIN = {"small": Path(__file__).with_name("edsr_4x32.safetensors")}
_METADATA_KEY = "edsr"


@dataclasses.dataclass(frozen=True)
class EdsrConfig:
    """What decides the shape and the units of an EDSR network.

    ``blocks`` residual blocks of ``features`` channels enlarge by ``scale`` (3 or a power of two).
    ``residual_scale`` multiplies each block's residual (0.1 keeps the 256-channel network stable; paper section 3.3).
    ``tail``: "classic" shuffles features and ends in a convolution at the output size; "lean" ends in the shuffle.
    ``skip``: "bicubic" adds the enlarged input, so that the network learns only what bicubic lacks.
    ``value_range`` (1 or 255) and ``mean`` (RGB, in 0..1) are the units the weights were trained in.

    Raise ValueError, naming the field, for a value outside these.
    """

    blocks: int
    features: int
    scale: int = 2
    residual_scale: float = 1.0
    tail: Literal["classic", "lean"] = "classic"
    skip: Literal["none", "bicubic"] = "none"
    value_range: float = 255.0
    mean: tuple[float, float, float] = DIV2K_MEAN

    def __post_init__(self) -> None:
        checks = {
            "blocks": self.blocks >= 1,
            "features": self.features >= 1,
            "scale": self.scale == 3 or (self.scale >= 2 and self.scale & (self.scale - 1) == 0),
            "residual_scale": math.isfinite(self.residual_scale),
            "tail": self.tail in ("classic", "lean"),
            "skip": self.skip in ("none", "bicubic"),
            "value_range": 0 < self.value_range < math.inf,
            "mean": len(self.mean) == 3 and all(0 <= part <= 1 for part in self.mean),
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, is_right in checks.items() if not is_right]
        if wrong:
            raise ValueError(f"not an EDSR configuration: {', '.join(wrong)}")

    @property
    def shuffles(self) -> tuple[int, ...]:
        """The factors of the pixel shuffles, from the input size to the output size; their product is ``scale``."""
        if self.tail == "lean" or self.scale == 3:
            return (self.scale,)
        return (2,) * (self.scale.bit_length() - 1)


BASELINE = EdsrConfig(blocks=16, features=64)
FULL = EdsrConfig(blocks=32, features=256, residual_scale=0.1)
SMALL = EdsrConfig(blocks=4, features=32, tail="lean", skip="bicubic", value_range=1.0, mean=(0.0, 0.0, 0.0))


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


class ResidualBlock(nn.Module):
    """``x + residual_scale * conv(relu(conv(x)))``: no batch norm, no activation after the sum."""

    def __init__(self, features: int, residual_scale: float) -> None:
        super().__init__()
        self.conv1 = _conv(features, features)
        self.conv2 = _conv(features, features)
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, features, H, W)`` to the same shape."""
        residual: Tensor = self.conv2(functional.relu(self.conv1(x), inplace=True))
        if self.residual_scale == 1:
            return residual.add_(x)  # in place: fresh memory for a whole frame costs more than the addition
        return torch.add(x, residual, alpha=self.residual_scale)


class Edsr(nn.Module):
    """The network of one ``EdsrConfig``, with fresh weights."""

    mean: Tensor

    def __init__(self, config: EdsrConfig) -> None:
        super().__init__()
        self.config = config
        features, is_classic = config.features, config.tail == "classic"
        self.head = _conv(3, features)
        self.body = nn.Sequential(*(ResidualBlock(features, config.residual_scale) for _ in range(config.blocks)))
        self.body_end = _conv(features, features)
        shuffled = features if is_classic else 3
        self.up = nn.ModuleList(_conv(features, shuffled * factor**2) for factor in config.shuffles)
        self.last = _conv(features, 3) if is_classic else nn.Identity()
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)

    def channels_last(self) -> Self:
        """Lay the weights out for channels-last convolutions, in place: the faster kind on CPUs and tensor cores."""
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge RGB pictures.

        ``x``: float32 ``(N, 3, H, W)`` in 0..1, any H and W. Return float32 ``(N, 3, H * scale, W * scale)``, which may
        leave 0..1. Under autocast the convolutions run in its dtype; the last additions stay in float32, because a
        16-bit sum would round the picture itself and not only the correction.
        """
        config = self.config
        start: Tensor = self.head((x - self.mean) * config.value_range)
        y: Tensor = self.body_end(self.body(start)).add_(start)
        for conv, factor in zip(self.up, config.shuffles, strict=True):
            y = functional.pixel_shuffle(conv(y), factor)
        y = self.last(y).to(x.dtype) / config.value_range
        if config.skip == "none":
            return y + self.mean
        return y + functional.interpolate(x, scale_factor=config.scale, mode="bicubic", align_corners=False)


def receptive_radius(config: EdsrConfig) -> int:
    """How far, in input px, an input pixel may lie from an output pixel's own and still change it."""
    radius = 1 if config.tail == "classic" else 0
    for factor in reversed(config.shuffles):
        radius = math.ceil(radius / factor) + 1  # a neighbour at the larger size may sit in the next smaller pixel
    radius += 2 * config.blocks + 2  # two 3x3 convolutions a block, the head and the end of the body
    return max(radius, 2 if config.skip == "bicubic" else 0)


def tiled(network: Edsr, x: Tensor, tile: int, halo: int | None = None) -> Tensor:
    """Run ``network`` on ``tile`` x ``tile`` px squares of ``x`` and return what it would return for the whole.

    Each square is read with ``halo`` px around it (default: ``receptive_radius``, exactly what is needed) but never
    beyond the picture, whose border the network pads itself. Equal up to rounding; memory follows the tile.
    """
    scale, (height, width) = network.config.scale, x.shape[-2:]
    margin = receptive_radius(network.config) if halo is None else halo
    whole = x.new_empty(*x.shape[:2], height * scale, width * scale)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            first_row, first_column = max(top - margin, 0), max(left - margin, 0)
            part = network(x[:, :, first_row : bottom + margin, first_column : right + margin])
            rows = slice((top - first_row) * scale, (bottom - first_row) * scale)
            columns = slice((left - first_column) * scale, (right - first_column) * scale)
            whole[:, :, top * scale : bottom * scale, left * scale : right * scale] = part[:, :, rows, columns]
    return whole


def flops(config: EdsrConfig, height: int, width: int) -> int:
    """Floating point operations (two per multiply-add) of the convolutions for one ``height`` x ``width`` px input."""
    features, area, macs = config.features, 1, 0
    macs += 27 * features + (2 * config.blocks + 1) * 9 * features**2
    outputs = features if config.tail == "classic" else 3
    for factor in config.shuffles:
        macs += area * 9 * features * outputs * factor**2
        area *= factor**2
    if config.tail == "classic":
        macs += area * 27 * features
    return 2 * macs * height * width


def save(network: Edsr, path: Path, facts: Mapping[str, str], dtype: torch.dtype = torch.float16) -> None:
    """Write ``network`` as safetensors in ``dtype``, its configuration and ``facts`` (provenance) in the metadata."""
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, metadata={**facts, _METADATA_KEY: json.dumps(dataclasses.asdict(network.config))})


def load(path: Path) -> Edsr:
    """Read a network that ``save`` wrote: float32, on the CPU, in eval mode, nothing missing and nothing left over.

    Raise FileNotFoundError if there is no such file, and ValueError naming the file if it is not safetensors, if its
    metadata holds no EDSR configuration, or if its tensors do not fit that configuration.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no EDSR weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    network = Edsr(_parse_config(path, metadata)).eval().requires_grad_(False)
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold the tensors its configuration describes: {error}") from error
    return network


def _parse_config(path: Path, metadata: Mapping[str, str]) -> EdsrConfig:
    if _METADATA_KEY not in metadata:
        raise ValueError(f"{path} has no {_METADATA_KEY!r} metadata: its EDSR configuration is unknown")
    try:
        fields = json.loads(metadata[_METADATA_KEY])
        return EdsrConfig(**{**fields, "mean": tuple(fields["mean"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from error
