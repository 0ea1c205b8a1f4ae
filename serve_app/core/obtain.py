"""A stage's file from wherever its configuration says it is: at hand already, or fetched once."""

from __future__ import annotations

from pathlib import Path

from serve_app.core import depot, hub
from serve_app.core.errors import NotFetched
from serve_app.core.fetch import Tell, quiet
from serve_app.core.source import HubFile, LocalPath, WebFile
from serve_app.core.web import USUAL, Bounds


def at_hand(source: HubFile | WebFile | LocalPath) -> Path | None:
    """Return the file if it is here, without any network."""
    match source:
        case HubFile():
            return hub.find(source.repo, source.file, source.revision)
        case WebFile():
            kept = depot.find(source)
            return None if kept is None else kept.path
        case LocalPath():
            return Path(source.path) if Path(source.path).is_file() else None


def obtain(source: HubFile | WebFile | LocalPath, tell: Tell = quiet, bounds: Bounds = USUAL) -> Path:
    """Return the file, fetched if it is not here: whole, and of the configured sha256. Raises NotFetched."""
    match source:
        case HubFile():
            return hub.have_file(source, tell, bounds)
        case WebFile():
            return depot.have(source, tell, bounds).path
        case LocalPath():
            if not Path(source.path).is_file():
                raise NotFetched(source.path, "there is no such file")
            return Path(source.path)
