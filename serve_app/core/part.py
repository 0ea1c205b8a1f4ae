"""The part of a file that is here already, and the digests of it: what a download is resumed from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import IO

_CHUNK_BYTES = 1 << 20


class Part:
    """An unfinished file beside ``target``, and beside it the tag of the version that it is of.

    ``git_size_bytes``: the whole file's size, where its git digest is wanted too (git counts the size in).
    """

    def __init__(self, target: Path, git_size_bytes: int | None = None) -> None:
        self._target, self._git_size_bytes = target, git_size_bytes
        self._path = target.with_name(f"{target.name}.greenlight.part")
        self._tag_path = target.with_name(f"{target.name}.greenlight.tag")
        self.tag = self._read_tag()
        """The server's strong ETag for what is here; None for none."""
        self._clear_digests()
        self.size_bytes = 0
        if self._path.exists():
            with self._path.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    self._count(chunk)

    @property
    def sha256(self) -> str:
        """Of what is here."""
        return self._sha256.hexdigest()

    @property
    def git_sha1(self) -> str:
        """Git's name for a file of these bytes."""
        return self._git_sha1.hexdigest()

    def begin(self, tag: str | None) -> None:
        """Forget what is here and begin anew, of the version ``tag``."""
        self._path.write_bytes(b"")
        self._tag_path.write_text(json.dumps(tag), encoding="utf-8")
        self.tag, self.size_bytes = tag, 0
        self._clear_digests()

    def append(self, stream: IO[bytes], chunk: bytes) -> None:
        """Write ``chunk`` to ``stream``, which ``open`` gave."""
        stream.write(chunk)
        self._count(chunk)

    def open(self) -> IO[bytes]:
        """Open the file to go on with it."""
        return self._path.open("ab")

    def finish(self) -> None:
        """Put the whole file in its place, in one step, after it is on the disk."""
        with self._path.open("rb") as stream:
            os.fsync(stream.fileno())
        self._path.replace(self._target)
        self._tag_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what is here."""
        self._path.unlink(missing_ok=True)
        self._tag_path.unlink(missing_ok=True)
        self.tag, self.size_bytes = None, 0
        self._clear_digests()

    def _count(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        self._git_sha1.update(chunk)
        self.size_bytes += len(chunk)

    def _clear_digests(self) -> None:
        self._sha256 = hashlib.sha256()
        self._git_sha1 = hashlib.sha1(f"blob {self._git_size_bytes}\0".encode(), usedforsecurity=False)

    def _read_tag(self) -> str | None:
        try:
            tag = json.loads(self._tag_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return tag if isinstance(tag, str) else None
