"""The whole verification of one file against one base, without a GPU and without keeping a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployments.nets.lora.header import Header, read_header
from deployments.nets.lora.match import Match, match
from deployments.nets.lora.normal import Reader
from deployments.nets.lora.places import Base
from deployments.nets.lora.triggers import triggers_of
from serve_app.core.errors import BadAdapter


@dataclass(frozen=True)
class Verified:
    """A file that can be applied as it is."""

    header: Header
    match: Match
    layers: int
    """Layers of the model that it changes."""
    idle: tuple[str, ...]
    """Pairs that change nothing; there are some only where that was allowed."""
    triggers: tuple[str, ...]

    @property
    def working(self) -> int:
        """Pairs that change something."""
        return self.match.pairs - len(self.idle)


def verify(path: Path, name: str, base: Base, parts: tuple[str, ...] = (), *, is_partial: bool = False) -> Verified:
    """Read all of ``path``, called ``name`` in errors; raise BadAdapter naming file, layer and reason.

    First the header, then names and shapes against ``base``, then every tensor's values.
    """
    header = read_header(path, name)
    matched = match(header, base, parts, is_partial=is_partial)
    layers, idle = 0, []
    for layer, changes in Reader(path, header, matched).changes():
        layers += len(changes)
        if layer.rank and not any(change.pair for change in changes):
            idle.append(layer.name)
    if not layers:
        raise BadAdapter(name, None, "it is all zeros and would change nothing")
    return Verified(header, matched, layers, tuple(idle), triggers_of(header))
