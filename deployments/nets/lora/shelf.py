"""Adapter files in directories that the operator allows: found by name, and kept by digest before they are used.

A file is looked at anew for every request, so a new or changed one is seen without a restart. What is used is a copy in
the artifact store, under its digest: the file may be replaced or deleted meanwhile, and other machines can fetch it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
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
        return sorted({path.stem for directory in self._directories for path in directory.glob(f"*{_SUFFIX}")})

    def find(self, name: str, prefixes: Sequence[str] = ("",)) -> Path:
        """Return the file of ``name``, with or without its suffix; of `character-...`, under each of ``prefixes``.

        Raises Unknown naming ``adapter`` with the nearest names, and BadAdapter for a file that is pickled.
        """
        if Path(name).name != name or name.startswith("."):
            raise Unknown("adapter", name)
        for candidate in _candidates(name, prefixes):
            for directory in self._directories:
                if (path := directory / f"{candidate}{_SUFFIX}").is_file():
                    return path
        pickled = (
            directory / f"{name.removesuffix(each)}{each}" for directory in self._directories for each in _PICKLED
        )
        if found := next((path for path in pickled if path.is_file()), None):
            raise BadAdapter(found.name, None, "it is pickled, and a pickle runs code; only safetensors are read")
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


def _candidates(name: str, prefixes: Sequence[str]) -> Iterator[str]:
    stem = name.removesuffix(_SUFFIX)
    if stem.startswith(_CHARACTER):
        yield from (prefix + stem for prefix in prefixes)
    else:
        yield stem


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise Unavailable(path.name, "it was deleted while it was looked up") from error
    return found.st_mtime_ns, found.st_size, found.st_ino
