"""Adapter files in directories that the operator allows: found by name, and kept by digest before they are used.

A file is looked at anew for every request, so a new or changed one is seen without a restart. What is used is a copy in
the artifact store, under its digest: the file may be replaced or deleted meanwhile, and other machines can fetch it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deployments.nets.lora.header import read_header
from serve_app.core.artifact import ArtifactStore
from serve_app.core.errors import BadAdapter, Misconfigured, Unavailable, Unknown

MEDIA_TYPE = "application/vnd.safetensors"
_SUFFIX = ".safetensors"
_PICKLED = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_CHARACTER = "character-"
_Stamp = tuple[int, int, int]


class Shelf:
    """The files in ``directories``, of which the first that has a name wins."""

    def __init__(self, directories: Sequence[Path], artifacts: ArtifactStore, scratch: Path) -> None:
        """Raise Misconfigured naming `weights.directories` for one that is not there."""
        for directory in directories:
            if not directory.is_dir():
                raise Misconfigured("weights.directories", f"there is no directory {directory}")
        self._directories, self._artifacts, self._scratch = tuple(directories), artifacts, scratch
        self._digests: dict[Path, tuple[_Stamp, str]] = {}

    def names(self) -> list[str]:
        """Return what can be asked for now, sorted."""
        return sorted(names_in(self._directories))

    def find(self, name: str, prefixes: Sequence[str] = ("",)) -> Path:
        """Return the file of ``name``, with or without its suffix; of `character-...`, under each of ``prefixes``.

        Raises Unknown naming ``adapter`` with the nearest names, and BadAdapter for a file that is pickled.
        """
        if Path(name).name != name or name.startswith("."):
            raise Unknown("adapter", name)
        for candidate in candidates(name, prefixes):
            if path := find_file(candidate, self._directories):
                return path
        refuse_pickled(name, self._directories)
        raise Unknown("adapter", name, self.names())

    def keep(self, path: Path) -> str:
        """Return the digest of ``path``'s bytes, which the artifact store holds from now on.

        A file that has not changed (size, time, inode) is not read again. Raises BadAdapter for one whose header is
        broken, before it is copied; Unavailable for one that is being written, which may be tried again.
        """
        stamp = _stamp(path)
        known = self._digests.get(path)
        if known and known[0] == stamp and self._is_stored(known[1]):
            return known[1]
        read_header(path)
        link = self._scratch / f"{uuid.uuid4().hex}{_SUFFIX}"
        link.symlink_to(path.absolute())  # the store moves what it is given, and copies what is behind a link
        try:
            digest = self._artifacts.put_file(link, MEDIA_TYPE, path.name, {}).digest
        except FileNotFoundError as error:
            raise Unavailable(path.name, "it was deleted while it was read") from error
        finally:
            link.unlink(missing_ok=True)
        if _stamp(path) != stamp:
            raise Unavailable(path.name, "it changed while it was read")
        self._digests[path] = stamp, digest
        return digest

    def _is_stored(self, digest: str) -> bool:
        try:
            self._artifacts.path_of(digest)
        except Unknown:
            return False
        return True


def candidates(name: str, prefixes: Sequence[str]) -> Iterator[str]:
    """Yield what ``name`` may be called, without its suffix: a `character-...` under each of ``prefixes``."""
    stem = name.removesuffix(_SUFFIX)
    if stem.startswith(_CHARACTER):
        yield from (prefix + stem for prefix in prefixes)
    else:
        yield stem


def names_in(directories: Iterable[Path]) -> set[str]:
    """Return the names of all files in ``directories`` that are not hidden, without their suffix."""
    paths = (path for directory in directories for path in directory.glob(f"*{_SUFFIX}"))
    return {path.stem for path in paths if not path.name.startswith(".")}


def find_file(name: str, directories: Sequence[Path]) -> Path | None:
    """Return the file of ``name`` in the first directory that has it."""
    if Path(name).name != name or name.startswith("."):
        return None
    return next((path for each in directories if (path := each / f"{name}{_SUFFIX}").is_file()), None)


def refuse_pickled(name: str, directories: Sequence[Path]) -> None:
    """Raise BadAdapter where ``name`` is there as a pickle alone."""
    if Path(name).name != name:
        return
    stem = next((name.removesuffix(each) for each in (_SUFFIX, *_PICKLED) if name.endswith(each)), name)
    paths = (directory / f"{stem}{each}" for directory in directories for each in _PICKLED)
    if found := next((path for path in paths if path.is_file()), None):
        raise BadAdapter(found.name, None, "it is pickled, and a pickle runs code; only safetensors are read")


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise Unavailable(path.name, "it was deleted while it was looked up") from error
    return found.st_mtime_ns, found.st_size, found.st_ino
