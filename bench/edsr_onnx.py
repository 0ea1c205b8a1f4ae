"""An EDSR network as ONNX, for runtimes to compare with. Needs the extra `bench`: `pip install -e '.[bench]'`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deployments.nets.edsr import Edsr


def write(network: Edsr, path: Path) -> None:
    """Write a network of a classic tail without a skip, opset 13, any N, H and W: RGB in 0..1 in, the same out."""
    config = network.config
    writer = _Writer(network)
    mean = writer.constant(np.array(config.mean, np.float32).reshape(1, 3, 1, 1))
    levels = writer.constant(np.array(config.value_range, np.float32))
    x = start = writer.convolve("head", writer.add("Mul", writer.add("Sub", "x", mean), levels))
    for block in range(config.blocks):
        inner = writer.add("Relu", writer.convolve(f"body.{block}.conv1", x))
        residual = writer.convolve(f"body.{block}.conv2", inner)
        if config.residual_scale != 1:
            residual = writer.add("Mul", residual, writer.constant(np.array(config.residual_scale, np.float32)))
        x = writer.add("Add", x, residual)
    x = writer.add("Add", writer.convolve("body_end", x), start)
    for index, factor in enumerate(config.shuffles):
        x = writer.add("DepthToSpace", writer.convolve(f"up.{index}", x), blocksize=factor, mode="CRD")
    x = writer.add("Div", writer.convolve("last", x), levels)
    writer.nodes.append(helper.make_node("Add", [x, mean], ["y"]))
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, f"{name}h", f"{name}w"]) for name in ("x", "y")
    ]
    graph = helper.make_graph(writer.nodes, "edsr", sides[:1], sides[1:], writer.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


class _Writer:
    """Nodes and constants, each under a name of its own."""

    def __init__(self, network: Edsr) -> None:
        self._state = network.state_dict()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operation: str, *inputs: str, blocksize: int | None = None, mode: str | None = None) -> str:
        name = f"{operation}_{len(self.nodes)}"
        settings = {} if blocksize is None else {"blocksize": blocksize, "mode": mode}
        self.nodes.append(helper.make_node(operation, list(inputs), [name], name=name, **settings))
        return name

    def constant(self, value: np.ndarray[Any, Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def convolve(self, layer: str, given: str) -> str:
        held = [self.constant(self._state[f"{layer}.{part}"].float().numpy()) for part in ("weight", "bias")]
        name = f"{layer}_{len(self.nodes)}"
        settings = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
        self.nodes.append(helper.make_node("Conv", [given, *held], [name], name=name, **settings))
        return name
