"""An artifact: an encoded output (or an upload), addressed by the digest of its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Artifact:
    """``digest`` (sha256, 64 hex digits) names the bytes, ``name`` the file for people; ``facts`` describe it."""

    digest: str
    media_type: str
    size_bytes: int
    name: str
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the artifact as JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Artifact:
        """Undo ``as_json``."""
        return cls(**value)


class ArtifactStore(Protocol):
    """Where artifacts live. Safe for many processes at once; putting the same bytes twice keeps one copy."""

    def put_file(self, path: Path, media_type: str, name: str, facts: dict[str, Any]) -> Artifact:
        """Take ``path``'s bytes (the file may be moved away) and return their artifact."""
        ...

    def put_bytes(self, data: bytes, media_type: str, name: str, facts: dict[str, Any]) -> Artifact:
        """Store ``data`` and return its artifact."""
        ...

    def path_of(self, digest: str) -> Path:
        """Return a local file holding the artifact's bytes; raise Unknown when there is none."""
        ...
