"""Writes frozen TensorFlow graphs, in the wire format by hand: a reader meets bytes that it has not made itself."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.deployments.foreign_edsr import add_noise, enlarging, fill_body

TYPES = {"float32": 1, "int32": 3, "uint8": 12}


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def block(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def tensor(value: NDArray[Any]) -> bytes:
    shape = b"".join(block(2, number(1, side)) for side in value.shape)
    return number(1, TYPES[value.dtype.name]) + block(2, shape) + block(4, value.tobytes())


def attribute(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return block(8, tensor(value))
    if isinstance(value, bytes):
        return block(2, value)
    if isinstance(value, float):
        return varint(4 << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, list):
        return block(1, block(3, b"".join(map(varint, value))))
    return number(6, value["type"]) if isinstance(value, dict) else number(3, value)


def node(name: str, op: str, *inputs: str, **attributes: Any) -> bytes:
    data = block(1, name.encode()) + block(2, op.encode())
    data += b"".join(block(3, each.encode()) for each in inputs)
    for key, value in attributes.items():
        data += block(5, block(1, key.encode()) + block(2, attribute(value)))
    return block(1, data)


class Graph:
    """Nodes, in the order in which they are added."""

    def __init__(self) -> None:
        self.data = b""

    def add(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        self.data += node(name, op, *inputs, **attributes)
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        return self.add(name, "Const", value=value, dtype={"type": TYPES[value.dtype.name]})

    def packed(self, name: str, value: NDArray[np.float32]) -> str:
        """Write ``value`` in eight bits, as TensorFlow's quantize_weights does."""
        low, high = np.float32(value.min()), np.float32(value.max())
        step = (high - low) / 255
        levels = (np.rint(value / step) - np.rint(low / step)).clip(0, 255).astype(np.uint8)  # so that zero is exact
        given = [self.constant(f"{name}_quantized", levels)]
        given += [self.constant(f"{name}_{end}", np.array(edge)) for end, edge in (("min", low), ("max", high))]
        return self.add(name, "Dequantize", *given, T={"type": 12}, mode=b"MIN_FIRST")

    def convolve(self, name: str, given: str, weight: NDArray[np.float32], is_packed: bool) -> str:
        """Add a convolution with ``(output, input, height, width)`` weights."""
        kernel = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        held = self.packed(f"{name}/filter", kernel) if is_packed else self.constant(f"{name}/filter", kernel)
        settings = {"data_format": b"NHWC", "padding": b"SAME", "strides": [1] * 4, "dilations": [1] * 4}
        return self.add(name, "Conv2D", given, held, T={"type": 1}, **settings)

    def biased(self, name: str, given: str, bias: NDArray[np.float32]) -> str:
        return self.add(name, "Add", given, self.constant(f"{name}/bias", bias), T={"type": 1})


def opencv_edsr(blocks: int, features: int, scale: int, residual_scale: float, is_packed: bool = True) -> bytes:
    """Return an EDSR like OpenCV's `EDSR_x2.pb`: lean tail, BGR in 0..255 minus a mean, weights in eight bits.

    The depth-to-space node also has `blocksize`, which OpenCV's own reader looks for.
    """
    convolutions = [nn.Conv2d(3, features, 3)]
    convolutions += [nn.Conv2d(features, features, 3) for _ in range(2 * blocks + 1)]
    last = nn.Conv2d(features, 3 * scale**2, 3)
    fill_body(convolutions, residual_scale, 255)
    last.weight.data = enlarging(scale, features, 3 * scale**2, lambda colour, phase: phase * 3 + colour)
    torch.nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    convolutions.append(last)
    add_noise(convolutions, 255, 0)
    weights = [(each.weight.detach().numpy(), each.bias.detach().numpy()) for each in convolutions]  # type: ignore[union-attr]
    graph = Graph()
    x = graph.add("IteratorGetNext", "Placeholder", dtype={"type": 1})

    def layer(name: str, given: str, index: int) -> str:
        weight, bias = weights[index]
        return graph.biased(f"Bias{name}", graph.convolve(f"resFilter{name}", given, weight, is_packed), bias)

    start = x = layer("_one", x, 0)
    for index in range(blocks):
        inner = graph.add(f"relu{index}", "Relu", layer(str(2 * index), x, 1 + 2 * index), T={"type": 1})
        residual = layer(str(2 * index + 1), inner, 2 + 2 * index)
        factor = graph.constant(f"scale{index}", np.array(residual_scale, np.float32))
        residual = graph.add(f"scaled{index}", "Mul", residual, factor, T={"type": 1})
        x = graph.add(f"sum{index}", "Add", x, residual, T={"type": 1})
    x = graph.add("sum", "Add", layer("_two", x, 2 * blocks + 1), start, T={"type": 1})
    settings = {"block_size": scale, "blocksize": scale, "data_format": b"NHWC"}
    x = graph.add("NHWC_output", "DepthToSpace", layer("_three", x, 2 * blocks + 2), T={"type": 1}, **settings)
    order = graph.constant("NCHW_output/perm", np.array([0, 3, 1, 2], np.int32))
    graph.add("NCHW_output", "Transpose", x, order, T={"type": 1}, Tperm={"type": 3})
    return graph.data
