"""The few messages of ONNX (onnx.ai, `onnx.proto`) that a convolutional net takes, written by hand.

A wire message is a row of fields: a tag (number * 8 + wire type), then a varint (type 0) or a
length and bytes (type 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

_FLOAT, _INT64 = 1, 7
_AN_INT, _INTS = 2, 7


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number * 8) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number * 8 + 2) + _varint(len(data)) + data


def node(kind: str, takes: Sequence[str], gives: str, /, **attributes: int | Sequence[int]) -> bytes:
    """Return a node of one output, named as that output."""
    out = b"".join(_field(1, name) for name in takes) + _field(2, gives) + _field(3, gives) + _field(4, kind)
    for name, value in attributes.items():
        if isinstance(value, int):
            out += _field(5, _field(1, name) + _field(3, value) + _field(20, _AN_INT))
        else:
            out += _field(5, _field(1, name) + b"".join(_field(8, each) for each in value) + _field(20, _INTS))
    return out


def _tensor(name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> bytes:
    kind = _INT64 if values.dtype == np.int64 else _FLOAT
    dims = b"".join(_field(1, size) for size in values.shape)
    return dims + _field(2, kind) + _field(8, name) + _field(9, values.tobytes())


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, dims)))


def model(
    nodes: Sequence[bytes],
    weights: Mapping[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]],
    given: tuple[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
) -> bytes:
    """Return a whole model file of one input."""
    graph = b"".join(_field(1, each) for each in nodes) + _field(2, "tiny")
    graph += b"".join(_field(5, _tensor(name, values)) for name, values in weights.items())
    graph += _field(11, _value(*given)) + b"".join(_field(12, _value(name, shape)) for name, shape in outputs.items())
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))
