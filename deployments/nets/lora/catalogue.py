"""What a request may name: the configured adapters and the files in the operator's directories. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from deployments.nets.lora.card import read_card
from deployments.nets.lora.families import FAMILIES, FamilyName
from deployments.nets.lora.shelf import candidates, find_file, names_in, refuse_pickled
from serve_app.core import depot, digest
from serve_app.core.adapter import AdapterCard, is_adapter_name
from serve_app.core.errors import BadAdapter, Unknown
from serve_app.core.obtain import at_hand
from serve_app.core.source import AdapterEntry, HubFile, LocalPath, Source, WebFile

_KINDS: Mapping[type, Literal["hub", "address", "path"]] = {HubFile: "hub", WebFile: "address", LocalPath: "path"}


@dataclass(frozen=True)
class Place:
    """Where an adapter is: a configured ``entry`` under its ``name``, or a ``file`` in a directory."""

    name: str
    entry: AdapterEntry | None
    file: Path | None

    @property
    def path(self) -> Path | None:
        """The file, if it is here."""
        return self.file if self.entry is None else at_hand(self.entry.source)


@dataclass(frozen=True)
class Catalogue:
    """The adapters of one deployment. Asked anew each time, so that a new file needs no restart."""

    family: FamilyName
    directories: tuple[Path, ...]
    entries: Mapping[str, AdapterEntry]

    @property
    def is_visible(self) -> bool:
        """Whether every directory can be seen from here; a process on another machine may not."""
        return all(directory.is_dir() for directory in self.directories)

    def names(self) -> list[str]:
        """Return what can be asked for now, sorted."""
        return sorted({*self.entries, *names_in(self.directories)})

    def find(self, name: str, field: str = "adapter") -> Place:
        """Return where ``name`` is, with or without its suffix; of `character-...`, the family's own names come first.

        A configured name wins over a file. Raises Unknown naming ``field``, and BadAdapter for a pickled file.
        """
        for candidate in candidates(name, FAMILIES[self.family].prefixes):
            if candidate in self.entries:
                return Place(candidate, self.entries[candidate], None)
            if file := find_file(candidate, self.directories):
                return Place(candidate, None, file)
        refuse_pickled(name, self.directories)
        raise Unknown(field, name, self.names())

    def admit(self, names: Sequence[str], field: str) -> None:
        """Raise Unknown or BadAdapter for what can be told to be wrong without the base; silent where it cannot be."""
        for name in names:
            try:
                place = self.find(name, field)
            except Unknown:
                if self.is_visible:
                    raise
                continue
            if path := place.path:
                read_card(path, path.name)

    def cards(self) -> tuple[AdapterCard, ...]:
        """Return a card for every adapter; one that cannot be read, or asked for by its name, says why."""
        return tuple(card for name in self.names() if (card := self._card_of(name)))

    def _card_of(self, name: str) -> AdapterCard | None:
        file = find_file(name, self.directories)
        place = Place(name, self.entries.get(name), file)
        if place.entry is None and file is None:
            return None  # deleted since the names were read
        card = self._card(place)
        return (
            card if is_adapter_name(name) else card.unreadable(f"{card.file}: no request can say this name; rename it")
        )

    def _card(self, place: Place) -> AdapterCard:
        source = None if place.entry is None else place.entry.source
        path = place.path
        blank = self._blank(place, source, path)
        if path is None:
            return blank
        try:
            card, sha256 = read_card(path, path.name), _sha256_of(path, source)
        except BadAdapter as error:
            return blank.unreadable(str(error))
        except OSError as error:
            return blank.unreadable(f"{path.name}: it cannot be read: {error.strerror}")
        wanted = place.entry.sha256 if place.entry else None
        if wanted not in (None, sha256):
            return blank.unreadable(f"{path.name}: its sha256 is {sha256}, and {wanted} is configured")
        triggers = place.entry.triggers if place.entry and place.entry.triggers else card.triggers
        return AdapterCard(
            name=place.name,
            base=self.family,
            state="present",
            source=blank.source,
            file=path.name,
            layout=card.layout,
            dtype=card.dtype,
            ranks=card.ranks,
            pairs=card.pairs,
            size_bytes=card.size_bytes,
            sha256=sha256,
            triggers=triggers,
            looks_made_for=card.looks_made_for,
        )

    def _blank(self, place: Place, source: Source | None, path: Path | None) -> AdapterCard:
        file = path.name if path is not None else _file_of(source)
        return AdapterCard(
            name=place.name,
            base=self.family,
            state="not downloaded",
            source="directory" if source is None else _KINDS[type(source)],
            file=file,
            sha256=place.entry.sha256 if place.entry else None,
            triggers=place.entry.triggers if place.entry else (),
        )


def _file_of(source: Source | None) -> str:
    match source:
        case HubFile():
            return source.file.rpartition("/")[2]
        case WebFile():
            return source.title.rpartition("/")[2]
        case LocalPath():
            return Path(source.path).name
        case _:
            return ""


def _sha256_of(path: Path, source: Source | None) -> str:
    """Return a file's sha256: as it was recorded when it came, or read once for each version of the file."""
    if isinstance(source, WebFile) and (kept := depot.find(source)):
        return kept.sha256
    stored = path.resolve().name
    if isinstance(source, HubFile) and len(stored) == 64:  # the hub's cache calls large files by it
        return stored
    stat = path.stat()
    return _read_sha256(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


@lru_cache(maxsize=4096)
def _read_sha256(path: Path, _stamp: tuple[int, int, int]) -> str:
    return digest.of_file(path)
