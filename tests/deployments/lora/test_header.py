"""Headers: what is in them, and that no mangled one ends in anything but BadAdapter."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from safetensors.torch import save_file

from deployments.nets.lora.checks import verify
from deployments.nets.lora.header import HEADER_BYTES, read_header
from serve_app.core.errors import BadAdapter
from tests.deployments.lora.bases import base_of
from tests.deployments.lora.files import Make, make

LAYER = "transformer.proj_out"


def _write(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def _tensor(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}


def test_it_reads_what_safetensors_wrote(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {
        "a": torch.zeros(2, 3),
        "b": torch.zeros(4, dtype=torch.bfloat16),
        "c": torch.zeros(5).to(torch.float8_e4m3fn),
        "d": torch.tensor(3.0, dtype=torch.float16),
    }
    save_file(tensors, path, metadata={"modelspec.trigger_phrase": "ohwx"})
    header = read_header(path)
    assert {key: (entry.dtype, entry.shape) for key, entry in header.tensors.items()} == {
        "a": ("fp32", (2, 3)),
        "b": ("bf16", (4,)),
        "c": ("fp8_e4m3", (5,)),
        "d": ("fp16", ()),
    }
    assert header.metadata["modelspec.trigger_phrase"] == "ohwx"
    assert header.size_bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        (b"not json", b"", "not JSON"),
        (b"\xff\xfe{}", b"", "not JSON"),
        (b"[" * 100_000, b"", "not JSON"),
        ([1], b"", "not a JSON object"),
        ({}, b"", "no tensors"),
        ({"__metadata__": {"a": "b"}}, b"", "no tensors"),
        ({"__metadata__": {"a": 1}, "a": _tensor()}, b"0" * 16, "metadata"),
        ({"__metadata__": None, "a": _tensor()}, b"0" * 16, "metadata"),
        (b'{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{}}', b"0000", "twice"),
        ({"a": 3}, b"", "lacks"),
        ({"a": "text"}, b"", "lacks"),
        ({"a": _tensor(data_offsets=[0])}, b"0" * 16, "lacks"),
        ({"a": _tensor(data_offsets=[0, "16"])}, b"0" * 16, "whole numbers"),
        ({"a": _tensor(shape=[-2, -2])}, b"0" * 16, "whole numbers"),
        ({"a": _tensor(shape=[2, True])}, b"0" * 16, "whole numbers"),
        ({"a": _tensor(shape="22")}, b"0" * 16, "whole numbers"),
        ({"a": _tensor(dtype="C64")}, b"0" * 16, "dtype"),
        ({"a": _tensor(dtype=["F32"])}, b"0" * 16, "dtype"),
        ({"a": _tensor(shape=[2, 3])}, b"0" * 16, "not the size"),
        ({"a": _tensor(shape=[2**62, 2**62])}, b"0" * 16, "not the size"),
        ({"a": _tensor(), "b": _tensor(data_offsets=[8, 24])}, b"0" * 24, "begin at 8"),
        ({"a": _tensor(data_offsets=[4, 20])}, b"0" * 20, "begin at 4"),
        ({"a": _tensor()}, b"0" * 15, "truncated"),
        ({"a": _tensor()}, b"0" * 17, "longer than"),
        ({"a" * 501: _tensor()}, b"0" * 16, "501 characters"),
    ],
)
def test_a_broken_header_is_told_by_its_fault(header: Any, data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadAdapter, match=reason):
        read_header(_write(tmp_path / "x.safetensors", header, data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"1234567", "truncated"),
        (struct.pack("<Q", HEADER_BYTES + 1) + b"{}", "not in safetensors"),
        (struct.pack("<Q", 100) + b"{}", "truncated"),
        (struct.pack("<Q", 0) + b"{}", "truncated"),
        (b"<!DOCTYPE html><html>", "not in safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not in safetensors"),
    ],
)
def test_what_has_no_header_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadAdapter, match=reason):
        read_header(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadAdapter, match="cannot be read"):
        read_header(tmp_path)


# --- fuzz ------------------------------------------------------------------------------------------------------------

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ROLES = some.sampled_from(
    [".lora_A.weight", ".lora_B.weight", ".lora_down.weight", ".alpha", ".diff", ".diff_b", ".dora_scale", ".x", ""]
)
PREFIX = some.sampled_from(["transformer.", "diffusion_model.", "lora_unet_", "lora_te_", "base_model.model.", "", "."])
NAME = some.sampled_from(["proj_out", "final_layer.linear", "x_embedder", "double_blocks.0.img_attn.qkv", "nobody", ""])
KEYS = some.builds(lambda prefix, name, role: prefix + name + role, PREFIX, NAME, ROLES) | some.text(max_size=20)
SIZES = some.sampled_from([0, 1, 2, 3, 4, 32, 96])
DTYPES = some.sampled_from(["F32", "BF16", "F16", "F8_E4M3", "F8_E5M2", "I64", "BOOL", "F64"])
QUIET = settings(
    max_examples=250, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _outcome(path: Path) -> None:
    """Verify, and let nothing but a finding or BadAdapter through."""
    with contextlib.suppress(BadAdapter):
        assert verify(path, path.name, base_of("flux")).layers


@QUIET
@given(data=some.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadAdapter):
        verify(path, path.name, base_of("flux"))


@QUIET
@given(header=some.dictionaries(KEYS | some.just("__metadata__"), JSON | some.builds(_tensor), max_size=4))
def test_any_json_is_refused_or_fits(header: dict[str, Any], tmp_path: Path) -> None:
    _outcome(_write(tmp_path / "x.safetensors", header, b"\0" * 16))


@QUIET
@given(
    tensors=some.dictionaries(KEYS, some.tuples(DTYPES, some.lists(SIZES, max_size=3)), max_size=6), fill=some.binary()
)
def test_any_tensors_are_refused_or_fit(tensors: dict[str, tuple[str, list[int]]], fill: bytes, tmp_path: Path) -> None:
    widths = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "BOOL": 1, "F64": 8}
    header, end = {}, 0
    for key, (dtype, shape) in tensors.items():
        size = widths[dtype]
        for length in shape:
            size *= length
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    data = (fill * (end // max(1, len(fill)) + 1))[:end] if fill else b"\0" * end
    _outcome(_write(tmp_path / "x.safetensors", header, data))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make(Make("flux", only="proj_out")).save(tmp_path_factory.mktemp("whole") / "x.safetensors").read_bytes()


@QUIET
@given(where=some.integers(0, 10**6), byte=some.integers(0, 255))
def test_one_wrong_byte_is_refused_or_only_another_number(whole: bytes, where: int, byte: int, tmp_path: Path) -> None:
    data = bytearray(whole)
    data[where % min(len(data), 700)] = byte
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    _outcome(path)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_whose_length_begins_as_a_pickle_does_is_read(length: int, tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).ljust(length).encode()
    path = tmp_path / "unlucky.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header + bytes(4))
    assert set(read_header(path).tensors) == {"a"}
