"""One file looked into: by its first bytes, whatever its name says, and whole, as far as that can be told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serve_app.commands.inspecting.embedded import Embedded
from serve_app.commands.inspecting.film import look_into_film
from serve_app.commands.inspecting.picture import look_into_picture
from serve_app.core.errors import GreenlightError, InvalidClip, InvalidInput, InvalidPicture, TooLarge
from serve_app.core.filetype import HEAD_BYTES, FileType, mislabelled, type_of
from serve_app.core.footage import Bounds, check_clip
from serve_app.core.picture import BROKEN

FILE_BYTES = 4 << 30
"""A larger file is not read."""
FIELD = "file"


@dataclass(frozen=True)
class Anatomy:
    """What is known of the file at ``path``. With an ``error`` (its code, its words), that is what was known before."""

    path: Path
    kind: str = "unknown"
    media_type: str = ""
    size_bytes: int = 0
    sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    embedded: Embedded = field(default_factory=Embedded)
    warnings: tuple[str, ...] = ()
    error: tuple[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        said = {"origin": self.embedded.origin, "texts": dict(self.embedded.texts)}
        error = None if self.error is None else {"code": self.error[0], "message": self.error[1]}
        names = ("kind", "media_type", "size_bytes", "sha256", "facts")
        plain = {name: getattr(self, name) for name in names}
        return {"file": str(self.path), **plain, **said, "warnings": list(self.warnings), "error": error}


def look_into(path: Path, is_decoding: bool) -> Anatomy:
    """Return what the file at ``path`` is; an error is part of that. ``is_decoding``: see every frame of a video."""
    blank = Anatomy(path)
    try:
        size_bytes = path.stat().st_size
        if size_bytes > FILE_BYTES:
            raise TooLarge(FIELD, f"it is {size_bytes} bytes, and the limit is {FILE_BYTES}")
        data = path.read_bytes()
        blank = replace(blank, size_bytes=size_bytes, sha256=hashlib.sha256(data).hexdigest())
        kind = type_of(data[:HEAD_BYTES])
        if kind is None:
            raise InvalidInput(FIELD, "it is no picture and no video that we know" if data else "it is empty")
        claim = mislabelled(path.name, kind)
        warnings = () if claim is None else (claim,)
        blank = replace(blank, kind=kind.name, media_type=kind.media_type, warnings=warnings)
        facts, embedded = _inside(data, kind, is_decoding)
        return replace(blank, facts=facts, embedded=embedded)
    except OSError as error:
        return replace(blank, error=("unreadable", f"it cannot be read: {error.strerror or error}"))
    except GreenlightError as error:
        return replace(blank, error=(error.code, str(error).removeprefix(f"{FIELD}: ")))


def _inside(data: bytes, kind: FileType, is_decoding: bool) -> tuple[dict[str, Any], Embedded]:
    """Return the facts and what is embedded. Raises InvalidClip or InvalidPicture for what is damaged."""
    from av.error import FFmpegError

    damage = f"the {kind.name} is truncated or damaged"
    try:
        if kind.demuxer:
            check_clip(data, Bounds(), FIELD)
            return look_into_film(data, kind.demuxer, is_decoding)
        return look_into_picture(data, kind.name, FIELD)
    except FFmpegError as error:
        raise InvalidClip(FIELD, f"{damage}: {error.strerror}") from error
    except BROKEN as error:
        raise (InvalidClip if kind.demuxer else InvalidPicture)(FIELD, f"{damage}: {error}") from error
