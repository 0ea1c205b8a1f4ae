"""EDSR as others write it, in plain torch, with their names and units: what our reading of their files is held against.

The weights are no training's: a parabola through three pixels enlarges, the blocks take away values within `DEAD` units
of the middle (nothing in 0..255, everything in 0..1) or above 1.2 (the other way round), and noise is in every tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

DIV2K = (0.4488, 0.4371, 0.4040)
DEAD = 1.5
NOISE = 5e-4


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def upsampler(features: int, scale: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for factor in (3,) if scale == 3 else (2,) * (scale.bit_length() - 1):
        layers += [conv(features, features * factor**2), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


class MeanShift(nn.Conv2d):
    """A 1x1 convolution that adds or takes away the mean."""

    def __init__(self, value_range: float, sign: int) -> None:
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias = nn.Parameter(sign * value_range * torch.tensor(DIV2K))


class AuthorsBlock(nn.Module):
    def __init__(self, features: int, residual_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(features, features), nn.ReLU(True), conv(features, features))
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x).mul(self.residual_scale) + x
        return out


class Authors(nn.Module):
    """EDSR-PyTorch's names. super-image has them too, but works in 0..1 and leaves its mean shifts out."""

    is_super_image = False

    def __init__(self, blocks: int, features: int, scale: int, residual_scale: float) -> None:
        super().__init__()
        self.sub_mean, self.add_mean = MeanShift(255, -1), MeanShift(255, 1)
        self.head = nn.Sequential(conv(3, features))
        inner = [AuthorsBlock(features, residual_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*inner, conv(features, features))
        self.tail = nn.Sequential(upsampler(features, scale), conv(features, 3))

    def forward(self, x: Tensor) -> Tensor:
        """RGB in the weights' own range: 0..255, of super-image 0..1."""
        start = self.head(x if self.is_super_image else self.sub_mean(x))
        out: Tensor = self.tail(self.body(start) + start)
        return out if self.is_super_image else self.add_mean(out)

    def convolutions(self) -> list[nn.Conv2d]:
        kept = (self.head, self.body, self.tail)
        return [module for part in kept for module in part.modules() if isinstance(module, nn.Conv2d)]


class SuperImage(Authors):
    """super-image's network."""

    is_super_image = True


class BasicBlock(nn.Module):
    def __init__(self, features: int, residual_scale: float) -> None:
        super().__init__()
        self.conv1, self.conv2, self.residual_scale = conv(features, features), conv(features, features), residual_scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(functional.relu(self.conv1(x))) * self.residual_scale
        return out


class Basic(nn.Module):
    """BasicSR's names; RGB in 0..1 from outside, 0..255 minus the mean inside."""

    def __init__(self, blocks: int, features: int, scale: int, residual_scale: float) -> None:
        super().__init__()
        self.conv_first = conv(3, features)
        self.body = nn.Sequential(*(BasicBlock(features, residual_scale) for _ in range(blocks)))
        self.conv_after_body = conv(features, features)
        self.upsample = upsampler(features, scale)
        self.conv_last = conv(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.tensor(DIV2K).view(1, 3, 1, 1)
        start = self.conv_first((x - mean) * 255)
        out: Tensor = self.conv_last(self.upsample(self.conv_after_body(self.body(start)) + start))
        return out / 255 + mean

    def convolutions(self) -> list[nn.Conv2d]:
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]


def parabola(phase: int, factor: int) -> Tensor:
    """Return the weights of three pixels for a point between them: Lagrange's, of degree two."""
    at = (phase + 0.5) / factor - 0.5
    return torch.tensor([at * (at - 1) / 2, 1 - at**2, at * (at + 1) / 2])


def enlarging(factor: int, inputs: int, outputs: int, channel: Callable[[int, int], int]) -> Tensor:
    """Return weights that enlarge the first colours; ``channel(colour, phase)`` is where a result belongs."""
    weight = torch.zeros(outputs, inputs, 3, 3)
    for colour in range(3):
        for phase in range(factor**2):
            rows, columns = parabola(phase // factor, factor), parabola(phase % factor, factor)
            weight[channel(colour, phase), colour] = torch.outer(rows, columns)
    return weight


def centre(pairs: list[tuple[int, int, float]], outputs: int, inputs: int) -> Tensor:
    weight = torch.zeros(outputs, inputs, 3, 3)
    for output, given, value in pairs:
        weight[output, given, 1, 1] = value
    return weight


def fill_body(convolutions: list[nn.Conv2d], residual_scale: float, value_range: float) -> None:
    """Set head, blocks and the end of the body: colours pass, block 0 takes away what only wrong units have."""
    head, first, second, *others, end = convolutions
    features = head.out_channels
    head.weight.data = centre([(c, c, 1.0) for c in range(3)], features, 3)
    if value_range == 255:
        edges = [(c, c, 1.0) for c in range(3)] + [(c + 3, c, 1.0) for c in range(3)]
        bias, back, offset = [DEAD] * 3 + [-DEAD] * 3, (-1.0, 1.0), DEAD
    else:
        edges, bias, back, offset = [(c, c, 1.0) for c in range(3)], [-1.2] * 3 + [0.0] * 3, (-1.0, 0.0), 0.0
    first.weight.data = centre(edges, features, features)
    first.bias.data = functional.pad(torch.tensor(bias), (0, features - 6))  # type: ignore[union-attr]
    taken = [(c + 3, c, back[0] / residual_scale) for c in range(3)]
    taken += [(c + 3, c + 3, back[1] / residual_scale) for c in range(3)]
    second.weight.data = centre(taken, features, features)
    second.bias.data = torch.zeros(features)  # type: ignore[union-attr]
    second.bias.data[3:6] = offset / residual_scale  # type: ignore[union-attr]
    end.weight.data = centre([(c, c + 3, 1.0) for c in range(3)], features, features)
    for each in (head, *others, end):
        each.bias.data.zero_()  # type: ignore[union-attr]
    for each in others:
        each.weight.data.zero_()


def fill(network: Authors | Basic, scale: int, residual_scale: float, value_range: float, seed: int = 0) -> None:
    """Give a network of a classic tail weights that enlarge, with noise in each."""
    every = network.convolutions()
    ups = 2 if scale == 4 else 1
    body, tails, last = every[: -ups - 1], every[-ups - 1 : -1], every[-1]
    fill_body(body, residual_scale, value_range)
    factor = 3 if scale == 3 else 2
    for up in tails:
        up.weight.data = enlarging(factor, up.in_channels, up.out_channels, lambda c, phase: c * factor**2 + phase)
        up.bias.data.zero_()  # type: ignore[union-attr]
    last.weight.data = centre([(c, c, 1.0) for c in range(3)], 3, last.in_channels)
    last.bias.data.zero_()  # type: ignore[union-attr]
    add_noise(every, value_range, seed)


def add_noise(convolutions: list[nn.Conv2d], value_range: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for each in convolutions:
        each.weight.data += NOISE * torch.randn(each.weight.shape, generator=draw)
        assert each.bias is not None
        each.bias.data += NOISE * value_range / 4 * torch.randn(each.bias.shape, generator=draw)


def as_levels(values: Any) -> Any:
    """Return 0..255 floats as uint8."""
    return values.round().clamp(0, 255).to(torch.uint8)
