"""EDSR out of a frozen graph: OpenCV's `EDSR_x2.pb`, `_x3`, `_x4`, whose weights may be packed into eight bits.

Source: Saafke/EDSR_Tensorflow (Apache-2.0), linked from OpenCV's dnn_superres: a lean tail, BGR in and out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.nets.edsr import Edsr, EdsrConfig
from deployments.nets.frozen import Frozen
from deployments.nets.graphdef import Node

TOLERANCE = 1e-4
"""How far the network may be from the graph it was made of, of the largest value."""


def from_graph(nodes: Mapping[str, Node]) -> tuple[EdsrConfig, dict[str, Tensor]]:
    """Return configuration and tensors of the EDSR that a graph is, in the graph's own units and order of channels.

    The graph is carried out as well, and the network is refused unless it gives the same.
    Raise ValueError saying what the graph is instead.
    """
    graph = Frozen(nodes)
    convolutions = [_convolution(node, nodes, graph) for node in nodes.values() if node.op == "Conv2D"]
    (_, first), count = convolutions[0][0].shape[:2], len(convolutions)
    if first == 1:
        raise ValueError(
            f"a network of {count} convolutions that enlarges luma alone, such as FSRCNN or ESPCN, not EDSR"
        )
    if first != 3 or count < 5 or count % 2 == 0:
        raise ValueError(f"a network of {count} convolutions from {first} channels, not EDSR")
    features, shuffled = convolutions[0][0].shape[0], convolutions[-1][0].shape[0]
    config = EdsrConfig(
        blocks=(count - 3) // 2,
        features=features,
        scale=math.isqrt(max(shuffled // 3, 0)),
        residual_scale=_residual_scale(nodes, graph),
        tail="lean",
        value_range=1.0,
        mean=(0.0, 0.0, 0.0),
    )
    # A pixel's colours stand together in the graph; torch's shuffle wants each colour's pixels together.
    order = torch.arange(shuffled).reshape(-1, 3).T.flatten()
    convolutions[-1] = (convolutions[-1][0][order], convolutions[-1][1][order])
    tensors: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(_names(config.blocks), convolutions, strict=True):
        tensors |= {f"{name}.weight": weight.contiguous(), f"{name}.bias": bias.contiguous()}
    _compare(config, tensors, graph)
    return config, tensors


def _names(blocks: int) -> list[str]:
    inner = [f"body.{block}.{name}" for block in range(blocks) for name in ("conv1", "conv2")]
    return ["head", *inner, "body_end", "up.0"]


def _convolution(node: Node, nodes: Mapping[str, Node], graph: Frozen) -> tuple[Tensor, Tensor]:
    """Return a convolution's (output, input, height, width) weights, and the bias that is added to its result."""
    kernel = graph.constants.get(node.inputs[1]) if len(node.inputs) == 2 else None
    if kernel is None or kernel.ndim != 4:
        raise ValueError(f"the weights of {node.name} are not constant")
    adding = [each for each in nodes.values() if node.name in each.inputs and each.op in ("Add", "AddV2", "BiasAdd")]
    added = [graph.constants[name] for each in adding for name in each.inputs if name in graph.constants]
    flat: list[NDArray[np.float32]] = [each for each in added if each.shape == (kernel.shape[3],)]
    bias = flat[0] if flat else np.zeros(kernel.shape[3], np.float32)
    return torch.tensor(kernel.astype(np.float32)).permute(3, 2, 0, 1), torch.tensor(bias.astype(np.float32))


def _residual_scale(nodes: Mapping[str, Node], graph: Frozen) -> float:
    """Return what every residual is multiplied by: the one number that the graph multiplies with, or 1."""
    factors = [
        graph.constants[name]
        for node in nodes.values()
        if node.op == "Mul"
        for name in node.inputs
        if name in graph.constants
    ]
    values = {float(factor.ravel()[0]) for factor in factors if factor.size == 1}
    if len(values) > 1 or any(factor.size != 1 for factor in factors):
        raise ValueError("its blocks are multiplied by different numbers, which no EDSR does")
    return values.pop() if values else 1.0


def _compare(config: EdsrConfig, tensors: Mapping[str, Tensor], graph: Frozen) -> None:
    """Raise ValueError unless the network of ``config`` computes what ``graph`` does."""
    network = Edsr(config).eval().requires_grad_(False)
    try:
        network.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise ValueError(f"its convolutions are not an EDSR's: {error}") from error
    x = torch.rand(1, 3, 12, 13, generator=torch.Generator().manual_seed(0)) * 255 - 128
    with torch.inference_mode():
        ours, theirs = network(x), graph(x)
    if ours.shape != theirs.shape or (ours - theirs).abs().max() > TOLERANCE * theirs.abs().max():
        raise ValueError("it has the convolutions of an EDSR, but connects them in another way")
