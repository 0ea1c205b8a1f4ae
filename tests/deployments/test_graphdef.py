"""Frozen graphs read without TensorFlow: the same as OpenCV reads, and an error for whatever is none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.nets.edsr_files import read
from deployments.nets.edsr_graph import from_graph
from deployments.nets.frozen import Frozen
from deployments.nets.graphdef import MAX_BYTES, parse_graph, read_graph
from deployments.nets.protobuf import fields, varint
from tests.beside import beside
from tests.deployments import tensorflow_graph as wire
from tests.deployments.tensorflow_graph import Graph, opencv_edsr

REAL = ("FSRCNN_x2.pb", "ESPCN_x2.pb")
SMALL = opencv_edsr(1, 6, 2, 0.1)


def opencvs(path: Path, folder: Path) -> cv2.dnn.Net:
    """Read a file with OpenCV, which calls a setting of depth to space by another name than TensorFlow does."""
    out = b""
    for number, value in fields(memoryview(path.read_bytes())):
        if number == 1 and not isinstance(value, int):
            extra = wire.block(5, wire.block(1, b"blocksize") + wire.block(2, wire.attribute(2)))
            is_spread = b"DepthToSpace" in bytes(value) and b"block_size" in bytes(value)
            out += wire.block(1, bytes(value) + (extra if is_spread else b""))
    (folder / path.name).write_bytes(out)
    return cv2.dnn.readNetFromTensorflow(str(folder / path.name))


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_gives_what_opencv_makes_of_it(name: str, tmp_path: Path) -> None:
    path = beside(name)
    picture = np.random.default_rng(0).random((1, 1, 33, 47), dtype=np.float32)
    theirs = opencvs(path, tmp_path)
    theirs.setInput(picture)
    ours = Frozen(read_graph(path))(torch.tensor(picture)).numpy()
    assert ours.shape == (1, 1, 66, 94)
    assert np.abs(ours - theirs.forward()).max() < 1e-5


@pytest.mark.parametrize("name", REAL)
def test_a_network_for_luma_is_not_taken_for_edsr(name: str) -> None:
    path = beside(name)
    with pytest.raises(ValueError, match=r"enlarges luma alone, such as FSRCNN or ESPCN, not EDSR"):
        read(path)


def luma() -> Graph:
    graph = Graph()
    graph.add("x", "Placeholder")
    graph.convolve("conv", "x", np.full((4, 1, 5, 5), 0.04, np.float32), is_packed=False)
    return graph


def test_depth_to_space_and_activations_are_tensorflows(tmp_path: Path) -> None:
    graph = luma()
    graph.add("abs", "Abs", "conv")
    graph.add("sub", "Sub", "conv", "abs")
    graph.add("mul", "Mul", "sub", graph.constant("half", np.array(0.5, np.float32)))
    graph.add("relu", "Relu", "conv")
    graph.add("sum", "AddV2", "relu", "mul")
    graph.add("spread", "DepthToSpace", "sum", block_size=2, blocksize=2, data_format=b"NHWC")
    graph.add("out", "Tanh", "spread")
    picture = np.random.default_rng(1).standard_normal((1, 1, 9, 11)).astype(np.float32)
    ours = Frozen(parse_graph(graph.data))(torch.tensor(picture)).numpy()
    (tmp_path / "x.pb").write_bytes(graph.data)
    theirs = cv2.dnn.readNetFromTensorflow(str(tmp_path / "x.pb"))
    theirs.setInput(picture)
    assert np.abs(ours - theirs.forward()).max() < 1e-5


def test_the_order_of_the_file_does_not_matter() -> None:
    parts = [wire.block(1, bytes(value)) for _, value in fields(memoryview(SMALL)) if not isinstance(value, int)]
    backwards = parse_graph(b"".join(reversed(parts)))
    assert list(backwards) != list(parse_graph(SMALL))
    assert torch.equal(from_graph(backwards)[1]["up.0.weight"], from_graph(parse_graph(SMALL))[1]["up.0.weight"])


def test_values_may_be_listed_instead_of_packed_into_bytes() -> None:
    shape = wire.block(2, wire.block(2, wire.number(1, 3)))
    listed = wire.number(1, 1) + shape + wire.block(5, np.arange(3, dtype=np.float32).tobytes())
    once = wire.number(1, 3) + shape + wire.number(7, -4)
    nodes = b""
    for name, value in (("listed", listed), ("once", once)):
        attribute = wire.block(5, wire.block(1, b"value") + wire.block(2, wire.block(8, value)))
        nodes += wire.block(1, wire.block(1, name.encode()) + wire.block(2, b"Const") + attribute)
    graph = parse_graph(nodes)
    assert np.array_equal(graph["listed"].attributes["value"], [0, 1, 2])  # type: ignore[arg-type]
    assert np.array_equal(graph["once"].attributes["value"], [-4, -4, -4])  # type: ignore[arg-type]


def unpack(graph: Graph, levels: NDArray[Any], low: float, high: float, mode: bytes = b"MIN_FIRST") -> None:
    given = [graph.constant("levels", levels)]
    given += [graph.constant(name, np.array(value, np.float32)) for name, value in (("low", low), ("high", high))]
    graph.add("unpacked", "Dequantize", *given, mode=mode, T={"type": 12})


def eight_bits(mode: bytes, low: float, high: float) -> NDArray[Any]:
    graph = Graph()
    unpack(graph, np.arange(256, dtype=np.uint8), low, high, mode)
    graph.add("x", "Placeholder")
    graph.add("sum", "Add", "x", "unpacked")
    return Frozen(parse_graph(graph.data)).constants["unpacked"]


def test_eight_bit_weights_keep_an_exact_zero() -> None:
    first, combined = (eight_bits(mode, -0.3301, 0.6703) for mode in (b"MIN_FIRST", b"MIN_COMBINED"))
    assert (first == 0).any()
    assert not (combined == 0).any()
    assert np.abs(first - combined).max() <= (0.6703 + 0.3301) / 255
    assert combined[[0, 255]] == pytest.approx([-0.3301, 0.6703])


def another(change: Callable[[Graph], object]) -> bytes:
    graph = luma()
    change(graph)
    return graph.data


STRANGE = {
    "operations that no super-resolution network has: MatMul": lambda g: g.add("out", "MatMul", "conv", "conv"),
    "takes 'nowhere', which does not exist": lambda g: g.add("out", "Relu", "nowhere"),
    "two nodes are called 'conv'": lambda g: g.add("conv", "Relu", "x"),
    "takes its own result": lambda g: (g.add("a", "Relu", "b"), g.add("b", "Relu", "a")),
    "neither holds the other": lambda g: g.add(
        "out", "Mul", "conv", g.constant("c", np.ones((9, 1, 1, 1), np.float32))
    ),
    r"out \(Mul\) cannot be carried out": lambda g: g.add(
        "out", "Mul", "conv", g.constant("c", np.ones(3, np.float32))
    ),
    r"out \(Transpose\) cannot be carried out": lambda g: g.add("out", "Transpose", "conv"),
    "1 inputs and 2 results": lambda g: (g.add("a", "Relu", "conv"), g.add("b", "Relu", "conv")),
    "unpacks values between": lambda g: unpack(g, np.zeros(3, np.uint8), 1.0, 1.0),
    "unpacks int32 in a way that is not known": lambda g: unpack(g, np.zeros(3, np.int32), 0.0, 1.0),
    "unpacks what is not constant": lambda g: g.add("d", "Dequantize", "x", "x", "x"),
    "the constant c has no value": lambda g: g.add("c", "Const"),
}


@pytest.mark.parametrize("complaint", STRANGE)
def test_what_cannot_be_carried_out_is_refused(complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Frozen(parse_graph(another(STRANGE[complaint])))(torch.zeros(1, 1, 5, 5))


@pytest.mark.parametrize(
    "settings_",
    [{"strides": [1, 2, 2, 1]}, {"dilations": [1, 2, 2, 1]}, {"padding": b"VALID"}, {"data_format": b"NCHW"}],
)
def test_convolutions_of_another_kind_are_refused(settings_: dict[str, object]) -> None:
    graph = Graph()
    graph.add("x", "Placeholder")
    kernel = graph.constant("kernel", np.ones((3, 3, 1, 1), np.float32))
    graph.add("conv", "Conv2D", "x", kernel, **{"padding": b"SAME", **settings_})
    with pytest.raises(ValueError, match="strides, dilations or a border of another kind"):
        Frozen(parse_graph(graph.data))(torch.zeros(1, 1, 4, 4))


def test_an_edsr_that_is_wired_in_another_way_is_refused() -> None:
    with pytest.raises(ValueError, match="connects them in another way"):
        from_graph(parse_graph(SMALL.replace(b"\x04Relu", b"\x04Tanh")))


def bomb() -> bytes:
    """A constant of four bytes that says it has 2^40 elements."""
    shape = wire.block(2, wire.block(2, wire.number(1, 1 << 20)) * 2)
    value = wire.number(1, 1) + shape + wire.block(4, b"\0\0\0\0")
    attribute = wire.block(5, wire.block(1, b"value") + wire.block(2, wire.block(8, value)))
    return wire.block(1, wire.block(1, b"big") + wire.block(2, b"Const") + attribute)


def test_a_constant_takes_no_more_memory_than_its_bytes() -> None:
    with pytest.raises(ValueError, match="1 elements is said to have the shape"):
        parse_graph(bomb())
    numbers = wire.block(1, wire.block(3, b"\1" * 5000))
    attribute = wire.block(5, wire.block(1, b"strides") + wire.block(2, numbers))
    with pytest.raises(ValueError, match="more than 4096 numbers"):
        parse_graph(wire.block(1, wire.block(1, b"n") + attribute))


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.pb").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ValueError, match="more than 256 MiB"):
        read_graph(tmp_path / "huge.pb")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_are_a_graph_or_a_value_error(data: bytes) -> None:
    try:
        parse_graph(data)
    except ValueError:
        return


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_graph_is_an_edsr_or_a_value_error(damage: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for at, byte in damage:
        data[at] = byte
    started = time.monotonic()
    with contextlib.suppress(ValueError):
        from_graph(parse_graph(bytes(data)))
    assert time.monotonic() - started < 5


def test_numbers_end_within_ten_bytes() -> None:
    assert varint(memoryview(b"\xac\x02"), 0) == (300, 2)
    assert varint(memoryview(wire.varint(-1)), 0)[0] == 2**64 - 1
    for broken in (b"", b"\x80", b"\x80" * 11):
        with pytest.raises(ValueError, match="a number"):
            varint(memoryview(broken), 0)
