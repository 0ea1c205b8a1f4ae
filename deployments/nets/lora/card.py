"""What an adapter's file says of itself, for a list of adapters: from its header, without torch and without a base."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from deployments.nets.lora.families import LOOKS
from deployments.nets.lora.header import Header, read_header
from deployments.nets.lora.keys import layers_of
from deployments.nets.lora.naming import halves_of, word_of
from deployments.nets.lora.ranks import dtype_of, extent, rank_of
from deployments.nets.lora.triggers import triggers_of


@dataclass(frozen=True)
class Card:
    """A readable file: every tensor of it is known, and every pair is whole."""

    layout: str
    dtype: str
    ranks: tuple[int, int]
    pairs: int
    triggers: tuple[str, ...]
    size_bytes: int
    looks_made_for: str | None
    """The family that its layers' names occur in, where they tell."""


def read_card(path: Path, name: str | None = None) -> Card:
    """Read the header of ``path``, called ``name`` in errors. Raises BadAdapter naming file, layer and reason."""
    return card_of(read_header(path, name))


def card_of(header: Header) -> Card:
    """Return what ``header`` says. Raises BadAdapter as `read_card` does."""
    layers = layers_of(header.file, header.tensors)
    ranks = [rank_of(header, layer) for layer in layers.values()]
    return Card(
        layout=f"{word_of(next(iter(layers)))} {halves_of(layers)}",
        dtype=dtype_of(header, layers.values()),
        ranks=extent(ranks),
        pairs=sum(1 for rank in ranks if rank),
        triggers=triggers_of(header),
        size_bytes=header.size_bytes,
        looks_made_for=next((title for title, look in LOOKS if any(re.search(look, name) for name in layers)), None),
    )
