"""An API key, which lives in a file of its own and in no configuration."""

from __future__ import annotations

from pathlib import Path

from serve_app.core.errors import Misconfigured


def read_key(file: Path | None) -> str | None:
    """Return the key in ``file``, None without one; raise Misconfigured naming ``weights.key_file``."""
    if file is None:
        return None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured("weights.key_file", f"{file} cannot be read: {error}") from error
    if not key or not key.isprintable() or " " in key:
        raise Misconfigured("weights.key_file", f"{file} does not hold one key")
    return key
