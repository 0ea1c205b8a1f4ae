"""The words that an adapter's author trained it to answer to, as far as the file says them."""

from __future__ import annotations

from deployments.nets.lora.header import Header

MOST_WORDS = 20
MOST_CHARACTERS = 100
"""A longer one is no word or phrase, but a description that went astray."""

_KEYS = ("modelspec.trigger_phrase", "trigger_words", "trigger_word")
"""Where authors write them (github.com/Stability-AI/ModelSpec, and habits)."""


def triggers_of(header: Header) -> tuple[str, ...]:
    """Return at most MOST_WORDS words of at most MOST_CHARACTERS characters, in the author's order."""
    texts = [header.metadata[key] for key in _KEYS if key in header.metadata]
    words = (" ".join(word.split()) for text in texts for word in text.split(","))
    kept = dict.fromkeys(word for word in words if word and word.isprintable() and len(word) <= MOST_CHARACTERS)
    return tuple(kept)[:MOST_WORDS]
