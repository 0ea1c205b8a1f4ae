"""Files from plain addresses, kept in a directory of ours: one folder per address and wanted digest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from serve_app import environment
from serve_app.core import digest
from serve_app.core.errors import NotFetched
from serve_app.core.fetch import Remote, Tell, fetch, quiet
from serve_app.core.source import WebFile
from serve_app.core.web import USUAL, Bounds, check_url, client, patiently, refuse_unless_good

_NAME_CHARACTERS = 120


@dataclass(frozen=True)
class Kept:
    """A file that is here, and the sha256 that it had when it came."""

    path: Path
    sha256: str
    size_bytes: int


def find(source: WebFile) -> Kept | None:
    """Return a file that was fetched before, in the size that was recorded then."""
    path = place_of(source)
    try:
        record = json.loads(_record(path).read_text(encoding="utf-8"))
        kept = Kept(path, str(record["sha256"]), int(record["size_bytes"]))
        return kept if path.stat().st_size == kept.size_bytes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def have(source: WebFile, tell: Tell = quiet, bounds: Bounds = USUAL) -> Kept:
    """Return a file, fetched if it is not here; its sha256 is recorded as it comes. Raises NotFetched."""
    if found := find(source):
        return found
    path = place_of(source)
    if _record(path).exists():  # it was whole once, and is not any more
        path.unlink(missing_ok=True)
    fetched = fetch(Remote(source.url, source.sha256), path, tell, bounds)
    if source.sha256 not in (None, fetched.sha256):
        raise NotFetched(source.title, f"its sha256 is {fetched.sha256}, and {source.sha256} was expected")
    record = {"url": source.title, "sha256": fetched.sha256, "size_bytes": fetched.size_bytes}
    _record(fetched.path).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return Kept(fetched.path, fetched.sha256, fetched.size_bytes)


def check(source: WebFile) -> str | None:
    """Read a kept file and compare its sha256 with the record; one that differs is removed. None: all is well."""
    kept = find(source)
    if kept is None or (has := digest.of_file(kept.path)) == kept.sha256:
        return None
    kept.path.unlink()
    return f"its sha256 was {has}, and {kept.sha256} was expected; it is removed"


def size_bytes(source: WebFile, bounds: Bounds = USUAL) -> int | None:
    """Ask the server for a file's size; None where it does not say. Raises NotFetched."""
    check_url(source.url)
    with client(bounds) as session:

        def attempt() -> int | None:
            response = session.head(source.url, headers={"Accept-Encoding": "identity"})
            if response.status_code in (405, 501):
                return None
            refuse_unless_good(source.title, response)
            length = response.headers.get("content-length", "")
            return int(length) if length.isdecimal() else None

        return patiently(source.title, bounds, attempt)


def place_of(source: WebFile) -> Path:
    """Return where a file is kept: another wanted digest is another place, so that a wrong file is never taken."""
    name = PurePosixPath(unquote(urlsplit(source.url).path)).name
    kept = "".join(each if each.isalnum() or each in "._-" else "_" for each in name)[-_NAME_CHARACTERS:].lstrip(".")
    identity = digest.of_bytes(f"{source.url}\n{source.sha256 or ''}".encode())[:24]
    return environment.cache_directory() / "files" / identity / (kept or "file")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
