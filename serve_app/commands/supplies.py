"""What a profile needs of the world outside: found by its stages' weights, listed, and fetched side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.core import depot, digest, hub
from serve_app.core.errors import NotFetched
from serve_app.core.fetch import Tell, quiet
from serve_app.core.hub_listing import INDEX, UNKNOWN_LICENCE, HubEntry, Listing, listing, needed
from serve_app.core.source import HubFile, HubModel, LocalPath, Source, WebFile
from serve_app.core.web import USUAL, Bounds


@dataclass(frozen=True)
class Supply:
    """One file that is needed: ``has`` it now, or can be fetched."""

    key: str
    """Where it is kept, which tells it from others: two may have one title."""
    title: str
    size_bytes: int | None
    is_here: bool
    have: Callable[[Tell, Bounds], None]
    check: Callable[[], str | None]
    """Read it and say what is wrong with it; None for nothing."""


@dataclass(frozen=True)
class Need:
    """What one source comes to: its files, or why they are not known."""

    title: str
    licence: str
    supplies: tuple[Supply, ...] = ()
    fault: str | None = None
    settle: Callable[[], None] = lambda: None
    """To be called when all of the supplies are here."""

    @property
    def size_bytes(self) -> int:
        """Of all whose size is known."""
        return sum(supply.size_bytes or 0 for supply in self.supplies)

    @property
    def present(self) -> int:
        """How many of the supplies are here."""
        return sum(supply.is_here for supply in self.supplies)


@dataclass(frozen=True)
class Failure:
    """What could not be had, and why. The others were."""

    title: str
    reason: str


def survey(sources: Iterable[Source], jobs: int, bounds: Bounds = USUAL) -> list[Need]:
    """Look every source up, ``jobs`` at a time; one that cannot be is a Need with a fault. In the order given."""
    unique = list(dict.fromkeys(sources))
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda source: _look_up(source, bounds), unique))


def supply_all(
    needs: Iterable[Need], jobs: int, tell: Callable[[Supply], Tell], bounds: Bounds = USUAL
) -> list[Failure]:
    """Fetch what is not here, ``jobs`` files at a time; return what failed. ``tell`` gives each file its listener."""
    listed = list(needs)
    failures = [Failure(need.title, need.fault) for need in listed if need.fault is not None]
    missing = {supply.key: supply for need in listed for supply in need.supplies if not supply.is_here}
    failed: dict[str, Failure] = {}
    with ThreadPoolExecutor(jobs) as pool:
        works = {pool.submit(supply.have, tell(supply), bounds): supply for supply in missing.values()}
        for work in as_completed(works):
            error = work.exception()
            if isinstance(error, NotFetched):
                failed[works[work].key] = Failure(works[work].title, error.reason)
            elif error is not None:
                raise error
    for need in listed:
        if need.fault is None and not any(supply.key in failed for supply in need.supplies):
            need.settle()
    return [*failures, *failed.values()]


def verify_all(needs: Iterable[Need], jobs: int) -> list[Failure]:
    """Read everything that is here and return what is not as it should be; each of those is removed."""
    supplies = list({each.key: each for need in needs for each in need.supplies if each.is_here}.values())
    with ThreadPoolExecutor(jobs) as pool:
        faults = list(pool.map(lambda supply: supply.check(), supplies))
    return [Failure(each.title, fault) for each, fault in zip(supplies, faults, strict=True) if fault is not None]


def _look_up(source: Source, bounds: Bounds) -> Need:
    try:
        match source:
            case HubModel():
                return _model(source, bounds)
            case HubFile():
                return _file(source, bounds)
            case WebFile():
                return _web(source, bounds)
            case LocalPath():
                return _local(source)
    except NotFetched as error:
        return Need(source.title, UNKNOWN_LICENCE, fault=error.reason)


def _model(source: HubModel, bounds: Bounds) -> Need:
    revision = source.revision or hub.MAIN
    found = listing(source.repo, revision, bounds)
    index: Mapping[str, Any] | None = None
    if INDEX in found.entries:
        entry = found.entries[INDEX]
        index = _read_index(hub.have(entry, quiet, bounds).path, entry)
    entries = needed(found, index, source.is_config_only)
    return _of_the_hub(source.title, found, revision, entries)


def _file(source: HubFile, bounds: Bounds) -> Need:
    revision = source.revision or hub.MAIN
    found = listing(source.repo, revision, bounds)
    return _of_the_hub(source.title, found, revision, [hub.checked(found.entry(source.file), source)])


def _of_the_hub(title: str, found: Listing, revision: str, entries: list[HubEntry]) -> Need:
    supplies = tuple(_supply(entry) for entry in entries)
    return Need(title, found.licence, supplies, settle=lambda: hub.settle(found, revision, entries))


def _supply(entry: HubEntry) -> Supply:
    def have(tell: Tell, bounds: Bounds) -> None:
        hub.have(entry, tell, bounds)

    blob = hub.blob_of(entry)
    return Supply(str(blob), entry.title, entry.size_bytes, hub.is_here(entry), have, lambda: _check(blob, entry))


def _check(path: Path, entry: HubEntry) -> str | None:
    """Compare a blob with its name; one that differs is removed, to be fetched again."""
    has = digest.of_file(path) if entry.sha256 else digest.git_of_file(path)
    if has == entry.tag:
        return None
    path.unlink()
    return f"its digest was {has}, and {entry.tag} was expected; it is removed"


def _web(source: WebFile, bounds: Bounds) -> Need:
    kept = depot.find(source)
    size_bytes = depot.size_bytes(source, bounds) if kept is None else kept.size_bytes

    def have(tell: Tell, bounds: Bounds) -> None:
        depot.have(source, tell, bounds)

    key = str(depot.place_of(source))
    supply = Supply(key, source.title, size_bytes, kept is not None, have, lambda: depot.check(source))
    return Need(source.title, UNKNOWN_LICENCE, (supply,))


def _local(source: LocalPath) -> Need:
    path = Path(source.path)
    if not path.exists():
        raise NotFetched(source.path, "there is no such path, and a path is not fetched")
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    size_bytes = sum(each.stat().st_size for each in files)
    supply = Supply(str(path.resolve()), source.title, size_bytes, True, lambda t, b: None, lambda: None)
    return Need(source.title, UNKNOWN_LICENCE, (supply,))


def _read_index(path: Path, entry: HubEntry) -> Mapping[str, Any]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotFetched(entry.title, "it is not JSON") from error
    if not isinstance(index, dict):
        raise NotFetched(entry.title, "it is not a JSON object")
    return index
