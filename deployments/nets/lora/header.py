"""What a safetensors file says about itself, read without a tensor and before anything else looks at the file.

The format (github.com/huggingface/safetensors): 8 bytes, little-endian, the length of a JSON object; that object, name
-> dtype, shape, offsets; the tensors' bytes, in one row without holes. All of it is checked here, so that a broken file
is told by its name and its fault instead of a library's error from the middle of a load.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.core.errors import BadAdapter

HEADER_BYTES = 100_000_000
"""The longest header that the format allows."""

_NAME_CHARACTERS = 500
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_BITS = {
    "F64": ("fp64", 64),
    "F32": ("fp32", 32),
    "F16": ("fp16", 16),
    "BF16": ("bf16", 16),
    "F8_E4M3": ("fp8_e4m3", 8),
    "F8_E5M2": ("fp8_e5m2", 8),
    "I64": ("int64", 64),
    "I32": ("int32", 32),
    "I16": ("int16", 16),
    "I8": ("int8", 8),
    "U8": ("uint8", 8),
    "BOOL": ("bool", 8),
}
FLOATS = frozenset(name for name, _ in _BITS.values() if name.startswith(("fp", "bf")))
"""The dtypes that a difference may have."""


@dataclass(frozen=True)
class Entry:
    """One tensor: its dtype in our words (``bf16``, ``fp8_e4m3``), its shape, and where its bytes are."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """A file's tensors by name, what its author wrote into it, and its size."""

    file: str
    """The file's own name, without a directory: what errors call it."""
    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]
    size_bytes: int


def read_header(path: Path, name: str | None = None) -> Header:
    """Return the header of ``path``, called ``name`` in errors; raise BadAdapter for anything that is not whole."""
    file = name or path.name
    try:
        with path.open("rb") as stream:
            size_bytes = stream.seek(0, 2)
            stream.seek(0)
            first = stream.read(8)
            _refuse_pickle(file, first)
            length = _header_length(file, first, size_bytes)
            text = stream.read(length)
    except OSError as error:
        raise BadAdapter(file, None, f"it cannot be read: {error.strerror}") from error
    document = _parse(file, text)
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadAdapter(file, None, "its metadata is not a list of texts")
    if not document:
        raise BadAdapter(file, None, "it holds no tensors")
    tensors = {key: _entry(file, key, value) for key, value in document.items()}
    _check_row(file, tensors, size_bytes - 8 - length)
    return Header(file, tensors, metadata, size_bytes)


def _refuse_pickle(file: str, first: bytes) -> None:
    # A header of 896 bytes begins with 80 03 as well; what follows a pickle's mark makes a length that no header has.
    if first.startswith(_PICKLES) and (len(first) < 8 or int.from_bytes(first, "little") > HEADER_BYTES):
        raise BadAdapter(file, None, "it is pickled, and a pickle runs code; only safetensors are read")


def _header_length(file: str, first: bytes, size_bytes: int) -> int:
    if len(first) < 8:
        raise BadAdapter(file, None, f"it is truncated: {size_bytes} bytes are not even a header")
    length = int.from_bytes(first, "little")
    if length > HEADER_BYTES:
        raise BadAdapter(file, None, "it is not in safetensors: no header of a possible length begins it")
    if not 2 <= length <= size_bytes - 8:
        raise BadAdapter(file, None, f"it is truncated: a header of {length} bytes in a file of {size_bytes}")
    return length


def _parse(file: str, text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadAdapter(file, None, f"its header is not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise BadAdapter(file, None, "its header is not a JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice[:100]!r} is in it twice")
    return found


def _entry(file: str, key: str, value: Any) -> Entry:
    if len(key) > _NAME_CHARACTERS:
        raise BadAdapter(file, f"{key[:64]}...", f"a name of {len(key)} characters is no layer's")
    try:
        dtype, shape, (start, stop) = value["dtype"], value["shape"], value["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise BadAdapter(file, key, "its entry lacks dtype, shape or offsets") from error
    if not isinstance(shape, list) or not all(_is_count(number) for number in [*shape, start, stop]):
        raise BadAdapter(file, key, "its shape or offsets are not whole numbers from 0")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise BadAdapter(file, key, f"its dtype is {str(dtype)[:32]!r}, which no adapter has")
    word, bits = _BITS[dtype]
    if stop - start != math.prod(shape) * bits // 8:
        raise BadAdapter(file, key, f"{stop - start} bytes are not the size of {word} {tuple(shape)}")
    return Entry(word, tuple(shape), start, stop)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _check_row(file: str, tensors: Mapping[str, Entry], data_bytes: int) -> None:
    """Raise BadAdapter unless the tensors fill the rest of the file without holes and without overlaps."""
    end = 0
    for key, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            raise BadAdapter(file, key, f"its bytes begin at {entry.start} and those before it end at {end}")
        end = entry.stop
    if end != data_bytes:
        state = "truncated" if data_bytes < end else "longer than its tensors"
        raise BadAdapter(file, None, f"it is {state}: {data_bytes} bytes of tensors where {end} were announced")
