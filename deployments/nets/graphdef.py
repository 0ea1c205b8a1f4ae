"""TensorFlow's frozen graphs (GraphDef, `.pb`), read without TensorFlow: nodes, attributes, constants.

Source: graph.proto, node_def.proto, attr_value.proto and tensor.proto of tensorflow/core/framework. A file is not
trusted: reading it gives a graph or raises ValueError, whatever it says, within memory in proportion to its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.nets.protobuf import Value, fields, message, packed, text, whole

MAX_BYTES = 1 << 28
"""Of a file: the largest EDSR there is takes 163 MB."""
MAX_NODES = 10_000
MAX_PARTS = 256
"""Inputs and attributes of a node, each."""
MAX_LISTED = 4096
"""Elements of a constant that is not stored as one block of bytes, but as a list or as one value for all."""

_DTYPES: Mapping[int, type[np.generic]] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    6: np.int8,
    9: np.int64,
    10: np.bool_,
    11: np.int8,  # qint8
    12: np.uint8,  # quint8
    13: np.int32,  # qint32
    19: np.float16,
}
_FLOATS, _DOUBLES = 5, 6
_INTEGERS = (7, 10, 11)  # int_val, int64_val, bool_val
_HALVES = 13

Attribute = bytes | int | float | NDArray[Any] | tuple[int, ...] | None
"""Text, a number, a constant, a list of numbers; None for what nothing here has a use for."""


@dataclass(frozen=True)
class Node:
    """One operation: its name, what it does, the names of what it takes, and its settings."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


def read_graph(path: Path) -> dict[str, Node]:
    """Return the nodes of a file by name, each behind those it takes.

    Raise OSError if it cannot be read, and ValueError naming what is wrong if it is no GraphDef or has no end.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
    return parse_graph(path.read_bytes())


def parse_graph(data: bytes) -> dict[str, Node]:
    """Return the nodes of a serialised GraphDef; see ``read_graph``."""
    nodes: dict[str, Node] = {}
    for number, value in fields(memoryview(data)):
        if number != 1:
            continue
        node = _node(message(value))
        if not node.name or node.name in nodes:
            raise ValueError(f"two nodes are called {node.name!r}" if node.name else "a node has no name")
        nodes[node.name] = node
        if len(nodes) > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES} nodes")
    if not nodes:
        raise ValueError("there is no node in it")
    return {name: nodes[name] for name in _ordered(nodes)}


def _ordered(nodes: Mapping[str, Node]) -> list[str]:
    """Return the names so that each follows what it takes; raise ValueError for a cycle or a stranger."""
    order: dict[str, None] = {}
    open_names: set[str] = set()
    for start in nodes:
        waiting = [start]
        while waiting:
            name = waiting[-1]
            if name in order:
                waiting.pop()
                continue
            missing = [each for each in nodes[name].inputs if each not in order]
            if unknown := [each for each in missing if each not in nodes]:
                raise ValueError(f"{name} takes {unknown[0]!r}, which does not exist")
            if not missing:
                order[name] = None
                open_names.discard(name)
            elif name in open_names:
                raise ValueError(f"{name} takes its own result")
            else:
                open_names.add(name)
                waiting += missing
    return list(order)


def _node(data: memoryview) -> Node:
    name, op, inputs, attributes = "", "", [], {}
    for number, value in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2:
            op = text(value)
        elif number == 3:
            taken = text(value)
            if not taken.startswith("^"):  # an order of execution, not a value
                inputs.append(taken.removesuffix(":0"))
        elif number == 5:
            key, attribute = _entry(message(value))
            attributes[key] = attribute
        if len(inputs) > MAX_PARTS or len(attributes) > MAX_PARTS:
            raise ValueError(f"the node {name!r} has more than {MAX_PARTS} inputs or attributes")
    return Node(name, op, tuple(inputs), attributes)


def _entry(data: memoryview) -> tuple[str, Attribute]:
    key, attribute = "", None
    for number, value in fields(data):
        if number == 1:
            key = text(value)
        elif number == 2:
            attribute = _attribute(message(value))
    return key, attribute


def _attribute(data: memoryview) -> Attribute:
    for number, value in fields(data):
        if number == 1:
            return tuple(each for field, listed in fields(message(value)) if field == 3 for each in packed(listed))
        if number == 2:
            return bytes(message(value))
        if number in (3, 5, 6):
            return whole(value)
        if number == 4:
            return float(_array(value, np.dtype("<f4"))[0])
        if number == 8:
            return _tensor(message(value))
    return None


def _tensor(data: memoryview) -> NDArray[Any]:
    kind, shape, content = 0, tuple[int, ...](), None
    values: list[NDArray[Any]] = []
    for number, value in fields(data):
        if number == 1:
            kind = whole(value)
        elif number == 2:
            shape = tuple(_sides(message(value)))
        elif number == 4:
            content = message(value)
        elif number in (_FLOATS, _DOUBLES):
            values.append(_array(value, np.dtype("<f4" if number == _FLOATS else "<f8")))
        elif number in _INTEGERS:
            values.append(np.array(packed(value), np.int64))
        elif number == _HALVES:
            values.append((np.array(packed(value), np.int64) & 0xFFFF).astype(np.uint16).view(np.float16))
        if len(values) > MAX_LISTED:
            raise ValueError(f"a constant is a list of more than {MAX_LISTED} fields")
    if kind not in _DTYPES:
        raise ValueError(f"a constant has the dtype {kind}, which no weights have")
    dtype = np.dtype(_DTYPES[kind])
    flat = _array(content, dtype) if content else np.concatenate(values or [np.zeros(0)]).astype(dtype)
    return _shaped(flat, shape)


def _sides(data: memoryview) -> Iterator[int]:
    for number, value in fields(data):
        if number == 2:
            side = next((whole(size) for field, size in fields(message(value)) if field == 1), 0)
            if side < 0:
                raise ValueError("a constant has no size")
            yield side


def _shaped(flat: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    elements = math.prod(shape)
    if flat.size == 1 and 1 < elements <= MAX_LISTED:
        flat = np.repeat(flat, elements)
    if flat.size != elements or len(shape) > 8:
        raise ValueError(f"a constant of {flat.size} elements is said to have the shape {list(shape)}")
    return flat.reshape(shape)


def _array(value: Value, dtype: np.dtype[Any]) -> NDArray[Any]:
    data = message(value)
    if not len(data) or len(data) % dtype.itemsize:
        raise ValueError(f"{len(data)} bytes are no {dtype.name} values")
    return np.frombuffer(data, dtype)
