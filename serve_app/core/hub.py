"""Files of the Hugging Face hub, in the hub's own cache, so that every library finds them there without a network.

The layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache): `blobs/<tag>` holds bytes,
`snapshots/<commit>/<file>` are links to them, `refs/<revision>` names a commit. The bytes are fetched by `core.fetch`
and not by huggingface_hub, which of 2.x neither resumes a broken download nor compares the sha256 of what came.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path

from serve_app.core.errors import NotFetched
from serve_app.core.fetch import Fetched, Tell, fetch, quiet
from serve_app.core.hub_listing import HubEntry, Listing, listing
from serve_app.core.source import HubFile
from serve_app.core.web import USUAL, Bounds

MAIN = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def folder_of(repo: str) -> Path:
    """Return where the cache has what it holds of ``repo``."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser() / f"models--{repo.replace('/', '--')}"


def find(repo: str, name: str, revision: str | None) -> Path | None:
    """Return a file of a repository if it is here, at the commit that ``revision`` was when it was pulled."""
    commit = commit_here(repo, revision or MAIN)
    if commit is None:
        return None
    path = folder_of(repo) / "snapshots" / commit / name
    return path if path.is_file() else None


def commit_here(repo: str, revision: str) -> str | None:
    """Return the commit that ``revision`` stands for in the cache."""
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        text = (folder_of(repo) / "refs" / revision).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return text if _COMMIT.fullmatch(text) else None


def is_here(entry: HubEntry) -> bool:
    """Whether the cache has an entry's bytes, in the right size."""
    blob = folder_of(entry.repo) / "blobs" / entry.tag
    return blob.is_file() and blob.stat().st_size == entry.size_bytes


def blob_of(entry: HubEntry) -> Path:
    """Return where an entry's bytes are, or will be."""
    return folder_of(entry.repo) / "blobs" / entry.tag


def have(entry: HubEntry, tell: Tell = quiet, bounds: Bounds = USUAL) -> Fetched:
    """Have an entry's bytes in the cache, and its name in the snapshot of its commit. Raises NotFetched."""
    folder = folder_of(entry.repo)
    lock = folder.parent / ".locks" / folder.name / f"{entry.tag}.lock"  # the one that huggingface_hub takes
    try:
        fetched = fetch(entry.remote(), blob_of(entry), tell, bounds, lock)
    except NotFetched as error:
        raise NotFetched(entry.title, error.reason) from error
    _link(folder / "snapshots" / entry.commit / entry.name, blob_of(entry))
    return fetched


def settle(found: Listing, revision: str, entries: Sequence[HubEntry] = ()) -> None:
    """Make ``revision`` stand for the commit in the cache, with ``entries`` in its snapshot: their bytes are there."""
    for entry in entries:
        _link(folder_of(entry.repo) / "snapshots" / entry.commit / entry.name, blob_of(entry))
    if _COMMIT.fullmatch(revision):
        return
    path = folder_of(found.repo) / "refs" / revision
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    part.write_text(found.commit, encoding="utf-8")
    part.replace(path)


def have_file(source: HubFile, tell: Tell = quiet, bounds: Bounds = USUAL) -> Path:
    """Return one file of a repository, fetched if it is not here. Raises NotFetched.

    A revision that is in the cache already keeps its commit: a pipeline's weights may hang on it.
    """
    path = find(source.repo, source.file, source.revision)
    if path is None:
        revision = source.revision or MAIN
        known = commit_here(source.repo, revision)
        found = listing(source.repo, known or revision, bounds)
        entry = checked(found.entry(source.file), source)
        have(entry, tell, bounds)
        if known is None:
            settle(found, revision)
        path = folder_of(source.repo) / "snapshots" / entry.commit / entry.name
    elif source.sha256 is not None and path.resolve().name != source.sha256:
        raise NotFetched(source.title, f"its sha256 is not {source.sha256}, as configured")
    return path


def checked(entry: HubEntry, source: HubFile) -> HubEntry:
    """Return ``entry``; raise NotFetched where the hub's sha256 of it is not the configured one."""
    if source.sha256 is not None and entry.sha256 != source.sha256:
        raise NotFetched(source.title, f"its sha256 is {entry.sha256}, and {source.sha256} is configured")
    return entry


def _link(path: Path, blob: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(blob, path.parent)
    if path.is_symlink() and os.readlink(path) == target:  # noqa: PTH115
        return
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    part.symlink_to(target)
    part.replace(path)
