"""One file over HTTP, whole or not at all: resumed where it broke off, verified, and only then under its name.

The rules of a resumed download are RFC 9110's (sections 13.1.5 and 14): a range is asked for with `If-Range` and the
strong ETag that the first part came with, so that a server with another version by now sends all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from serve_app.core import digest
from serve_app.core.errors import NotFetched
from serve_app.core.locked import locked
from serve_app.core.part import Part
from serve_app.core.web import USUAL, Bounds, Transient, check_url, client, patiently, refuse_unless_good, shown

if TYPE_CHECKING:
    import httpx

Tell = Callable[[int, int | None], None]
"""Hears (bytes that are here, bytes in all or None). What it raises ends the download, which can be resumed."""

_TOLD_BYTES = 1 << 20
_MOST_MISMATCHES = 2
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Remote:
    """A file on a server, and what is known of it beforehand."""

    url: str
    sha256: str | None = None
    """64 hex digits. Where there is none, the digest of what came is returned, for the record."""
    git_sha1: str | None = None
    """Git's name for it, 40 hex digits; needs ``size_bytes``."""
    size_bytes: int | None = None
    token: str | None = field(default=None, repr=False)
    """For the server of ``url`` alone."""

    @property
    def shown(self) -> str:
        """Its address without anything secret."""
        return shown(self.url)


@dataclass(frozen=True)
class Fetched:
    """A file that is here, whole."""

    path: Path
    sha256: str
    size_bytes: int
    was_here: bool
    """Whether it was before."""


def quiet(done: int, of: int | None) -> None:
    """Tell nobody."""


def fetch(
    remote: Remote, target: Path, tell: Tell = quiet, bounds: Bounds = USUAL, lock: Path | None = None
) -> Fetched:
    """Have ``remote`` at ``target``. A file that is there already, in the right size, is taken as it is.

    ``lock``: the file that other processes lock for the same target; one beside it by default. Raises NotFetched with
    the reason, and whatever ``tell`` raises; what came until then stays, to be resumed.
    """
    check_url(remote.url)
    waiting = lambda: tell(0, remote.size_bytes)  # noqa: E731
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock or target.with_name(f"{target.name}.lock"), waiting):
            return _found(remote, target) or _fetch(remote, target, tell, bounds)
    except OSError as error:
        raise NotFetched(remote.shown, f"it cannot be written to {target}: {error.strerror or error}") from error


def _found(remote: Remote, target: Path) -> Fetched | None:
    if not target.is_file():
        return None
    size_bytes = target.stat().st_size
    if remote.size_bytes not in (None, size_bytes):
        return None
    if remote.sha256 is not None:
        return Fetched(target, remote.sha256, size_bytes, was_here=True)
    with target.open("rb") as stream:
        return Fetched(target, digest.of_stream(stream), size_bytes, was_here=True)


def _fetch(remote: Remote, target: Path, tell: Tell, bounds: Bounds) -> Fetched:
    _refuse_large(remote, remote.size_bytes, bounds)
    part, mismatches = Part(target, remote.size_bytes), 0
    with client(bounds) as session:
        while True:
            attempt = lambda: _attempt(session, remote, part, (tell, bounds))  # noqa: E731
            patiently(remote.shown, bounds, attempt, lambda: part.size_bytes)
            if (fault := _fault(remote, part)) is None:
                break
            part.discard()
            mismatches += 1
            if mismatches == _MOST_MISMATCHES:
                raise NotFetched(remote.shown, f"{fault}, {mismatches} times")
    found = Fetched(target, part.sha256, part.size_bytes, was_here=False)
    part.finish()
    return found


def _fault(remote: Remote, part: Part) -> str | None:
    """Return in what the whole file differs from what was announced, if it does."""
    for name, wanted, has in (("sha256", remote.sha256, part.sha256), ("git digest", remote.git_sha1, part.git_sha1)):
        if wanted is not None and wanted != has:
            return f"its {name} is {has}, and {wanted} was expected"
    return None


def _attempt(session: httpx.Client, remote: Remote, part: Part, how: tuple[Tell, Bounds]) -> None:
    """Fetch what is missing. Raises Transient when the answer ends early, or begins elsewhere."""
    tell, bounds = how
    if remote.size_bytes is not None and part.size_bytes == remote.size_bytes:
        if not part.size_bytes:
            part.begin(None)  # nothing is asked for, and there is yet a file to be put in place
        return
    with session.stream("GET", remote.url, headers=_headers(remote, part)) as response:
        if response.status_code == 416:
            part.discard()
            raise Transient("HTTP 416")
        refuse_unless_good(remote.shown, response)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise NotFetched(remote.shown, f"it comes in {response.headers['content-encoding']}, unasked")
        total = _total(remote, response, part)
        _refuse_large(remote, total, bounds)
        tell(part.size_bytes, total)
        told = part.size_bytes
        with part.open() as stream:
            for chunk in response.iter_raw():
                part.append(stream, chunk)
                _refuse_large(remote, part.size_bytes, bounds)
                if part.size_bytes - told >= _TOLD_BYTES or part.size_bytes == total:
                    told = part.size_bytes
                    tell(told, total)
    if total is not None and part.size_bytes != total:
        if part.size_bytes > total:
            part.discard()
        raise Transient(f"it ended after {part.size_bytes} of {total} bytes")


def _headers(remote: Remote, part: Part) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if remote.token:
        headers["Authorization"] = f"Bearer {remote.token}"
    is_known = remote.sha256 is not None or remote.git_sha1 is not None
    if part.size_bytes and (part.tag or is_known):
        headers["Range"] = f"bytes={part.size_bytes}-"
        if part.tag:
            headers["If-Range"] = part.tag
    return headers


def _total(remote: Remote, response: httpx.Response, part: Part) -> int | None:
    """Return the whole file's size, after making ``part`` what the answer goes on from."""
    if response.status_code == 206:
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if found is None or int(found[1]) != part.size_bytes:
            part.discard()
            raise Transient("another range came than was asked for")
        total = None if found[2] == "*" else int(found[2])
    else:
        tag = response.headers.get("etag")
        part.begin(None if tag is None or tag.startswith("W/") else tag)
        length = response.headers.get("content-length")
        total = int(length) if length is not None and length.isdecimal() else None
    if remote.size_bytes is not None and total not in (None, remote.size_bytes):
        raise NotFetched(remote.shown, f"it has {total} bytes, and {remote.size_bytes} were announced")
    return remote.size_bytes if total is None else total


def _refuse_large(remote: Remote, size_bytes: int | None, bounds: Bounds) -> None:
    if size_bytes is not None and size_bytes > bounds.most_bytes:
        raise NotFetched(remote.shown, f"it is larger than {bounds.most_bytes} bytes")
