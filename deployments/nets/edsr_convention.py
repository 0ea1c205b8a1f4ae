"""The units in which other people's EDSR weights were trained: nothing in a file's tensors tells one from another.

Sources: EDSR-PyTorch and BasicSR subtract the DIV2K mean in 0..255; super-image works in 0..1 without one, though its
files have the tensors for it; OpenCV's dnn_superres (super_res.cpp) subtracts a mean of its own in 0..255, in BGR.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from deployments.nets.edsr import DIV2K_MEAN, Edsr, EdsrConfig

ConventionName = Literal["edsr-pytorch", "basicsr", "super-image", "opencv"]


@dataclass(frozen=True)
class Convention:
    """``value_range`` (1 or 255), the RGB ``mean`` in 0..1 that is taken off, and the ``order`` of channels."""

    value_range: float
    mean: tuple[float, float, float]
    order: Literal["RGB", "BGR"] = "RGB"

    def __str__(self) -> str:
        mean = f"minus a mean of {', '.join(f'{part:.4g}' for part in self.mean)}" if any(self.mean) else "no mean"
        return f"0..{self.value_range:g}, {mean}, {self.order}"


CONVENTIONS: Mapping[ConventionName, Convention] = {
    "edsr-pytorch": Convention(255.0, DIV2K_MEAN),
    "basicsr": Convention(255.0, DIV2K_MEAN),
    "super-image": Convention(1.0, (0.0, 0.0, 0.0)),
    "opencv": Convention(255.0, (114.35629928 / 255, 111.561547 / 255, 103.1545782 / 255), "BGR"),
}


def dressed(network: Edsr, convention: Convention) -> Edsr:
    """Return a network that gives RGB in 0..1, of one whose weights were trained in ``convention``."""
    config = dataclasses.replace(network.config, value_range=convention.value_range, mean=convention.mean)
    state = network.state_dict()
    if convention.order == "BGR":
        state = {**state, **turned(state, config)}
    return _with(config, state)


def turned(state: Mapping[str, Tensor], config: EdsrConfig) -> dict[str, Tensor]:
    """Return the first and the last convolution's tensors with red and blue exchanged."""
    if config.tail == "classic":
        last, shuffled = "last", 1
    else:
        last, shuffled = f"up.{len(config.shuffles) - 1}", config.shuffles[-1] ** 2
    order = torch.arange(3 * shuffled).reshape(3, shuffled).flip(0).flatten()
    return {
        "head.weight": state["head.weight"].flip(1),
        f"{last}.weight": state[f"{last}.weight"][order],
        f"{last}.bias": state[f"{last}.bias"][order],
    }


def alternatives(network: Edsr) -> Iterator[tuple[str, Edsr]]:
    """Yield the bare ``network`` in every other unit it might have been trained in, with what that is called."""
    for name, convention in CONVENTIONS.items():
        if name == "basicsr":
            continue  # the same as edsr-pytorch
        for scale in (1.0, 0.1):
            config = dataclasses.replace(network.config, residual_scale=scale)
            yield f"{name} with a residual scale of {scale:g}", dressed(_with(config, network.state_dict()), convention)


def _with(config: EdsrConfig, state: Mapping[str, Tensor]) -> Edsr:
    with torch.device("meta"):
        network = Edsr(config)
    network.load_state_dict({name: tensor.contiguous() for name, tensor in state.items()}, assign=True)
    network.mean = torch.tensor(config.mean).view(1, 3, 1, 1)
    return network.eval().requires_grad_(False)
