"""Artifacts in a directory: one read-only file per digest, `aa/aabb...`, where `aa` are the digest's first digits."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from serve_app.core import digest as digests
from serve_app.core.artifact import Artifact
from serve_app.core.errors import Misconfigured, Unknown

_DIGEST = re.compile(r"[0-9a-f]{64}")
_INCOMING = "incoming"
_STALE_S = 24 * 3600.0


class LocalArtifacts:
    """An ArtifactStore (see core.artifact) in a directory that many processes may share.

    A file is written beside the others under a name of its own, synced to the disk, and only then renamed to its
    digest: a reader sees all of it or nothing, and a crash leaves at most an unfinished file in ``incoming``.
    Only bytes are kept; what describes them travels in the Artifact.
    """

    def __init__(self, directory: Path) -> None:
        """Make ``directory`` if it is missing and clear unfinished files older than a day; raise Misconfigured."""
        self._directory = directory.absolute()
        self._incoming = self._directory / _INCOMING
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            self._clear_stale()
        except OSError as error:
            raise Misconfigured(str(directory), f"artifacts cannot be kept here: {error}") from error

    def _clear_stale(self) -> None:
        for part in self._incoming.iterdir():
            try:
                if part.stat().st_mtime < time.time() - _STALE_S:
                    part.unlink()
            except FileNotFoundError:  # finished, or cleared by another process
                continue

    def put_file(self, path: Path, media_type: str, name: str, facts: dict[str, Any]) -> Artifact:
        """Take ``path``'s bytes and return their artifact; the file is moved away where that is safe.

        A link, or a file with a second name, is copied: its bytes could still change under the other name.
        Raises OSError when the file cannot be read or the disk is full.
        """
        part = self._new_part()
        try:
            _move_or_copy(path, part)
            with part.open("rb") as stream:
                digest = digests.of_stream(stream)
                os.fsync(stream.fileno())
            return self._keep(part, digest, (media_type, name, facts))
        finally:
            part.unlink(missing_ok=True)

    def put_bytes(self, data: bytes, media_type: str, name: str, facts: dict[str, Any]) -> Artifact:
        """Store ``data`` and return its artifact. Raises OSError when the disk is full."""
        part = self._new_part()
        try:
            with part.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            return self._keep(part, digests.of_bytes(data), (media_type, name, facts))
        finally:
            part.unlink(missing_ok=True)

    def path_of(self, digest: str) -> Path:
        """Return the file that holds the artifact's bytes; raise Unknown naming ``artifact``."""
        # Looked at before it becomes part of a path: a digest has no dots and no slashes.
        if _DIGEST.fullmatch(digest) is None or not (path := self._path(digest)).is_file():
            raise Unknown("artifact", digest)
        return path

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest

    def _new_part(self) -> Path:
        return self._incoming / f"{uuid.uuid4().hex}.part"

    def _keep(self, part: Path, digest: str, description: tuple[str, str, dict[str, Any]]) -> Artifact:
        """Give the finished ``part`` its name, unless a whole copy has it already."""
        media_type, name, facts = description
        size_bytes = part.stat().st_size
        kept = self._path(digest)
        kept.parent.mkdir(exist_ok=True)
        if not (kept.is_file() and kept.stat().st_size == size_bytes):
            part.chmod(0o444)
            part.replace(kept)
            # The new names are safe only when the directories that hold them are on the disk as well.
            _sync_directory(kept.parent)
            _sync_directory(self._directory)
        return Artifact(digest=digest, media_type=media_type, size_bytes=size_bytes, name=name, facts=facts)


def _move_or_copy(source: Path, target: Path) -> None:
    is_ours_alone = not source.is_symlink() and source.stat().st_nlink == 1
    if is_ours_alone and source.stat().st_dev == target.parent.stat().st_dev:
        source.replace(target)
        target.touch()  # else an old file would look stale
        return
    shutil.copyfile(source, target)
    if is_ours_alone:
        source.unlink()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
