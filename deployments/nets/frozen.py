"""Carries out a frozen convolutional graph with torch: what OpenCV's super-resolution files are made of.

Operations: tensorflow.org/api_docs/python/tf/raw_ops. What is not in ``_OPERATIONS`` is refused, never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deployments.nets.graphdef import Node

_TO_CHANNELS_FIRST = (0, 3, 1, 2)
_PASSED_ON = ("Identity", "StopGradient")


class Frozen:
    """A graph with one picture as input and one as result.

    Raise ValueError, naming the operation, for what it cannot carry out.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.constants = constants(nodes)
        self._nodes = [node for name, node in nodes.items() if name not in self.constants]
        taken = {name for node in self._nodes for name in node.inputs}
        sinks = [node for node in self._nodes if node.name not in taken]
        places = [node.name for node in self._nodes if node.op == "Placeholder"]
        if len(sinks) != 1 or len(places) != 1:
            raise ValueError(f"{len(places)} inputs and {len(sinks)} results, where one of each belongs")
        if strange := sorted({node.op for node in self._nodes} - {"Placeholder", *_OPERATIONS}):
            raise ValueError(f"operations that no super-resolution network has: {', '.join(strange)}")
        self._tensors = {name: torch.tensor(value) for name, value in self.constants.items()}
        self._place, self._sink = places[0], sinks[0]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the graph's result for float ``(N, C, H, W)`` in its own units and channels, as the same."""
        values = {**self._tensors, self._place: x.permute(0, 2, 3, 1)}
        for node in self._nodes:
            if node.op != "Placeholder":
                values[node.name] = _carried_out(node, [values[name] for name in node.inputs])
        result = values[self._sink.name]
        if result.ndim != 4:
            raise ValueError(f"its result {self._sink.name} is no picture")
        is_first = self._sink.op == "Transpose" and _permutation(values[self._sink.inputs[1]]) == _TO_CHANNELS_FIRST
        return result if is_first else result.permute(_TO_CHANNELS_FIRST)


def _carried_out(node: Node, given: list[Tensor]) -> Tensor:
    try:
        return _OPERATIONS[node.op](node, given)
    except (RuntimeError, IndexError, TypeError) as error:  # shapes and counts of inputs that do not go together
        raise ValueError(f"{node.name} ({node.op}) cannot be carried out: {error}") from error


def constants(nodes: Mapping[str, Node]) -> dict[str, NDArray[Any]]:
    """Return the value of every node that is constant: as stored, handed on, or unpacked from eight bits."""
    found: dict[str, NDArray[Any]] = {}
    for name, node in nodes.items():
        if node.op == "Const":
            value = node.attributes.get("value")
            if not isinstance(value, np.ndarray):
                raise ValueError(f"the constant {name} has no value")
            found[name] = value
        elif node.op in _PASSED_ON and len(node.inputs) == 1 and node.inputs[0] in found:
            found[name] = found[node.inputs[0]]
        elif node.op == "Dequantize":
            if len(node.inputs) != 3 or any(each not in found for each in node.inputs):
                raise ValueError(f"{name} unpacks what is not constant")
            found[name] = _unpacked(node, *(found[each] for each in node.inputs))
    return found


def _unpacked(node: Node, levels: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.float32]:
    """Return unsigned 8-bit ``levels`` between ``low`` and ``high`` as floats.

    MIN_FIRST moves the lowest value to a multiple of the step, so that zero is exact (tf.quantization.dequantize).
    """
    mode = node.attributes.get("mode") or b"MIN_COMBINED"
    if levels.dtype != np.uint8 or low.size != 1 or high.size != 1 or mode not in (b"MIN_FIRST", b"MIN_COMBINED"):
        raise ValueError(f"{node.name} unpacks {levels.dtype} in a way that is not known: {mode!r}")
    bottom, top = float(low.ravel()[0]), float(high.ravel()[0])
    if not (np.isfinite(bottom) and np.isfinite(top) and top > bottom):
        raise ValueError(f"{node.name} unpacks values between {bottom:g} and {top:g}")
    step = (top - bottom) / 255
    first = step * round(bottom / step) if mode == b"MIN_FIRST" else bottom
    return (levels.astype(np.float32) * np.float32(step) + np.float32(first)).astype(np.float32)


def _convolve(node: Node, given: list[Tensor]) -> Tensor:
    x, weights = given
    odd = all(side % 2 for side in weights.shape[:2])
    plain = all(node.attributes.get(name, (1,) * 4) in ((1,) * 4, ()) for name in ("strides", "dilations"))
    if not (odd and plain and _is_last(node) and node.attributes.get("padding") == b"SAME"):
        raise ValueError(f"{node.name} is a convolution with strides, dilations or a border of another kind")
    y = functional.conv2d(x.permute(0, 3, 1, 2), weights.permute(3, 2, 0, 1), padding="same")
    return y.permute(0, 2, 3, 1)


def _spread(node: Node, given: list[Tensor]) -> Tensor:
    """Return depth to space: unlike torch's shuffle, a pixel's channels stand together."""
    side = node.attributes.get("block_size")
    batch, height, width, depth = given[0].shape
    if not isinstance(side, int) or side < 1 or depth % side**2 or not _is_last(node):
        raise ValueError(f"{node.name} cannot spread {depth} channels over {side!r} px")
    cells = given[0].reshape(batch, height, width, side, side, depth // side**2)
    return cells.permute(0, 1, 3, 2, 4, 5).reshape(batch, height * side, width * side, depth // side**2)


def _side_by_side(operation: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node, list[Tensor]], Tensor]:
    """Return an operation on two values, of which one has the shape of the result: a file makes nothing grow."""

    def carried_out(node: Node, given: list[Tensor]) -> Tensor:
        one, other = given
        shape = torch.broadcast_shapes(one.shape, other.shape)  # type: ignore[no-untyped-call]
        if shape not in (one.shape, other.shape):
            raise ValueError(f"{node.name} joins shapes of which neither holds the other")
        return operation(one, other)

    return carried_out


def _transpose(node: Node, given: list[Tensor]) -> Tensor:
    return given[0].permute(_permutation(given[1]))


def _permutation(order: Tensor) -> tuple[int, ...]:
    return tuple(int(each) for each in order.tolist())


def _is_last(node: Node) -> bool:
    return node.attributes.get("data_format", b"NHWC") == b"NHWC"


_OPERATIONS: Mapping[str, Callable[[Node, list[Tensor]], Tensor]] = {
    "Abs": lambda _, given: given[0].abs(),
    "Add": _side_by_side(torch.add),
    "AddV2": _side_by_side(torch.add),
    "BiasAdd": _side_by_side(torch.add),
    "Conv2D": _convolve,
    "DepthToSpace": _spread,
    "Identity": lambda _, given: given[0],
    "Mul": _side_by_side(torch.mul),
    "Relu": lambda _, given: given[0].relu(),
    "Sub": _side_by_side(torch.sub),
    "Tanh": lambda _, given: given[0].tanh(),
    "Transpose": _transpose,
}
