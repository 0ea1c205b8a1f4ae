"""Which files are meant by paths on a command line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve_app.core.errors import InvalidInput
from serve_app.core.filetype import HEAD_BYTES, TYPES, type_of

_SUFFIXES = frozenset(suffix for kind in TYPES for suffix in kind.suffixes)


@dataclass(frozen=True)
class Found:
    """``paths`` to judge, each once, and ``others``: files of a folder that neither are nor claim to be pictures."""

    paths: tuple[Path, ...]
    others: tuple[Path, ...]


def find(given: Sequence[Path], is_deep: bool) -> Found:
    """Return the files in ``given``: files as they are, folders by what is in them (``is_deep``: at any depth).

    A file that is named is always judged. Of a folder, those are that begin like a picture or a video, or end in such a
    name; hidden ones are not. Pipes, sockets and devices, which may never end, are not opened. Raises InvalidInput for
    a path that does not exist or is one of those, or when nothing is left.
    """
    paths: dict[Path, Path] = {}
    others: list[Path] = []
    for path in given:
        if path.is_dir():
            for file in _within(path, is_deep):
                if not _is_special(file) and (file.suffix.lower() in _SUFFIXES or _is_media(file)):
                    paths.setdefault(file.resolve(), file)
                else:
                    others.append(file)
        elif _is_special(path):
            raise InvalidInput("PATH", f"{path} is neither a file nor a folder but a pipe, a socket or a device")
        elif path.exists():
            paths.setdefault(path.resolve(), path)
        else:
            raise InvalidInput("PATH", f"there is no file or folder {path}")
    if not paths:
        deeper = "" if is_deep else "; -r looks into folders within folders"
        raise InvalidInput("PATH", f"no picture and no video is there{deeper}")
    return Found(tuple(paths.values()), tuple(others))


def _within(folder: Path, is_deep: bool) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if is_deep and not name.startswith("."))
        yield from (Path(where) / name for name in sorted(names) if not name.startswith("."))


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _is_media(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return type_of(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def shown(path: Path) -> str:
    """Return a path as text that any document can hold: what is no UTF-8 in it is replaced, and so are controls."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
