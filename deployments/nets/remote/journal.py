"""What was sent to a server and may have cost money: written down before, so that nobody sends it a second time."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from serve_app.core import digest
from serve_app.core.locked import locked


@dataclass(frozen=True)
class Entry:
    """A request that is under way.

    ``job`` is the server's id, or the address of what it made; None: nobody heard whether the server took it.
    ``nonce`` makes the request's key another one than that of the same request before: a server that honours keys would
    answer a new run with an old job.
    """

    nonce: str
    written_s: float
    job: str | None = None
    is_charged: bool = False


class Journal:
    """One file per request, by the digest of what is asked, in ``directory``: a replica that takes over finds it.

    An entry older than ``forget_s`` speaks of a job that has ended either way, and counts no more.
    """

    def __init__(self, directory: Path, forget_s: float) -> None:
        self._directory, self._forget_s = directory, forget_s

    @staticmethod
    def key_of(request: object) -> str:
        """Return the key of ``request``, a JSON value: the same request has the same key, in every replica."""
        return digest.of_json(request)

    @contextmanager
    def held(self, key: str, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Keep everybody else from this very request: an entry that is found meanwhile is a lost replica's.

        A second run that asks for the same waits, and then asks for its own. ``while_waiting`` is called ten times a
        second, and may raise.
        """
        with locked(self._directory / f"{key}.lock", while_waiting):
            yield

    def read(self, key: str) -> Entry | None:
        """Return what is known of a request, None if it was not sent (lately)."""
        try:
            found = Entry(**json.loads(self._path(key).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        return found if time.time() - found.written_s < self._forget_s else None

    def begin(self, key: str) -> Entry:
        """Write down that a request is about to be sent."""
        return self._write(key, Entry(secrets.token_hex(8), time.time()))

    def took(self, key: str, entry: Entry, job: str) -> Entry:
        """Write down that the server took it, and that it was charged."""
        return self._write(key, replace(entry, job=job, is_charged=True))

    def forget(self, key: str) -> None:
        """The request is over: its clip was fetched, or it will never have one."""
        self._path(key).unlink(missing_ok=True)

    def _write(self, key: str, entry: Entry) -> Entry:
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(key)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(asdict(entry)), encoding="utf-8")
        fresh.replace(path)
        return entry

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"
