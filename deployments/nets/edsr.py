"""EDSR, the network alone: a residual convolutional upscaler (no serving, no files but its own weights).

Sources: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, arXiv:1707.02921;
the authors' code, sanghyun-son/EDSR-PyTorch (MIT), whose classic tail, 0..255 range and DIV2K mean are the defaults.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
BUILTIN = {"small": Path(__file__).with_name("edsr_4x32.safetensors")}
"""The bundled network, for twice the size. It comes with another for 1.5 times:"""
BUILTIN_X1_5 = Path(__file__).with_name("edsr_4x32_x1.5.safetensors")
METADATA_KEY = "edsr"


@dataclasses.dataclass(frozen=True)
class EdsrConfig:
    """What decides the shape and the units of an EDSR network.

    ``blocks`` residual blocks of ``features`` channels enlarge by ``scale`` (3 or a power of two) over ``unshuffle``:
    with 2, the tail works on squares of 2 x 2 px, so that scale 3 enlarges by 1.5 (lean tails only, even sides only).
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
    unshuffle: int = 1

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
            "unshuffle": self.unshuffle == 1 or (1 < self.unshuffle < self.scale and self.tail == "lean"),
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, is_right in checks.items() if not is_right]
        if wrong:
            raise ValueError(f"not an EDSR configuration: {', '.join(wrong)}")

    @property
    def ratio(self) -> Fraction:
        """How many times as high and wide the output is."""
        return Fraction(self.scale, self.unshuffle)

    @property
    def shuffles(self) -> tuple[int, ...]:
        """The factors of the pixel shuffles, from the tail's size to the output size; their product is ``scale``."""
        if self.tail == "lean" or self.scale == 3:
            return (self.scale,)
        return (2,) * (self.scale.bit_length() - 1)


BASELINE = EdsrConfig(blocks=16, features=64)
FULL = EdsrConfig(blocks=32, features=256, residual_scale=0.1)
SMALL = EdsrConfig(blocks=4, features=32, tail="lean", skip="bicubic", value_range=1.0, mean=(0.0, 0.0, 0.0))
SMALL_X1_5 = dataclasses.replace(SMALL, scale=3, unshuffle=2)


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
        gathered = features * config.unshuffle**2
        self.up = nn.ModuleList(_conv(gathered, shuffled * factor**2) for factor in config.shuffles)
        self.last = _conv(features, 3) if is_classic else nn.Identity()
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)

    def channels_last(self) -> Self:
        """Lay the weights out for channels-last convolutions, in place: the faster kind on CPUs and tensor cores."""
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return self

    def computing_in(self, dtype: torch.dtype) -> Self:
        """Hold the weights in ``dtype``, in place, once instead of at every call; the mean stays as exact as it is."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge RGB pictures.

        ``x``: float32 ``(N, 3, H, W)`` in 0..1, H and W multiples of ``unshuffle``, else any. Return float32
        ``(N, 3, H * ratio, W * ratio)``, which may leave 0..1. The convolutions run in the weights' dtype; the last
        additions stay in float32, because a 16-bit sum would round the picture itself and not only the correction.
        """
        config = self.config
        start: Tensor = self.head(((x - self.mean) * config.value_range).to(self.head.weight.dtype))
        y: Tensor = self.body_end(self.body(start)).add_(start)
        if config.unshuffle > 1:
            y = functional.pixel_unshuffle(y, config.unshuffle)
        for conv, factor in zip(self.up, config.shuffles, strict=True):
            y = functional.pixel_shuffle(conv(y), factor)
        y = self.last(y).to(x.dtype) / config.value_range
        if config.skip == "none":
            return y + self.mean
        return y + functional.interpolate(x, scale_factor=float(config.ratio), mode="bicubic", align_corners=False)


def receptive_radius(config: EdsrConfig) -> int:
    """How far, in input px, an input pixel may lie from an output pixel's own and still change it.

    Its own pixel is, with ``unshuffle``, the nearest of its own square of pixels.
    """
    radius = 1 if config.tail == "classic" else 0
    for factor in reversed(config.shuffles):
        radius = math.ceil(radius / factor) + 1  # a neighbour at the larger size may sit in the next smaller pixel
    radius *= config.unshuffle
    radius += 2 * config.blocks + 2  # two 3x3 convolutions a block, the head and the end of the body
    return max(radius, 2 if config.skip == "bicubic" else 0)


def tiled(network: Edsr, x: Tensor, tile: int, halo: int | None = None) -> Tensor:
    """Run ``network`` on ``tile`` x ``tile`` px squares of ``x`` and return what it would return for the whole.

    Each square, whose side is a multiple of ``unshuffle``, is read with ``halo`` px around it (default:
    ``receptive_radius``, exactly what is needed) but never beyond the picture, whose border the network pads itself.
    Equal up to rounding; memory follows the tile.
    """
    config, (height, width) = network.config, x.shape[-2:]
    margin = receptive_radius(config) if halo is None else halo
    margin = -(-margin // config.unshuffle) * config.unshuffle

    def large(length: int) -> int:
        return length * config.scale // config.unshuffle

    whole = x.new_empty(*x.shape[:2], large(height), large(width))
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            first_row, first_column = max(top - margin, 0), max(left - margin, 0)
            part = network(x[:, :, first_row : bottom + margin, first_column : right + margin])
            rows = slice(large(top - first_row), large(bottom - first_row))
            columns = slice(large(left - first_column), large(right - first_column))
            whole[:, :, large(top) : large(bottom), large(left) : large(right)] = part[:, :, rows, columns]
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
    """Write ``network`` as safetensors in ``dtype``, its configuration and ``facts`` (provenance) in the metadata.

    Raise ValueError if a weight is no number in ``dtype``, whose range may be too small for it.
    """
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    if wrong := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"{wrong[0]} has values that {str(dtype).removeprefix('torch.')} cannot hold")
    path.touch()  # safetensors would leave a file that only its owner may read
    mode = path.stat().st_mode
    save_file(tensors, path, metadata={**facts, METADATA_KEY: json.dumps(dataclasses.asdict(network.config))})
    path.chmod(mode)


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
    if METADATA_KEY not in metadata:
        raise ValueError(f"{path} has no {METADATA_KEY!r} metadata: its EDSR configuration is unknown")
    try:
        fields = json.loads(metadata[METADATA_KEY])
        return EdsrConfig(**{**fields, "mean": tuple(fields["mean"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from error
