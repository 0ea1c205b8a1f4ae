"""Digests: the names of artifacts, and the identity of requests and steps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import IO, Any

_CHUNK_BYTES = 1 << 20


def of_bytes(data: bytes | memoryview) -> str:
    """Return the sha256 of ``data`` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def of_stream(stream: IO[bytes]) -> str:
    """Return the sha256 of what is left in ``stream``, read in chunks of 1 MiB."""
    state = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        state.update(chunk)
    return state.hexdigest()


def of_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as stream:
        return of_stream(stream)


def git_of_file(path: Path) -> str:
    """Return git's name for a file: the sha1 of its size and its bytes."""
    state = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()


def of_json(value: Any) -> str:
    """Return the sha256 of ``value`` as canonical JSON (sorted keys, no spaces); raise TypeError if it is not JSON."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
