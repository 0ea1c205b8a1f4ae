"""Guidance as people write it: 1 is off (and so is 0, as some cards write it), above 1 it costs a second evaluation."""

from __future__ import annotations

from serve_app.core.errors import InvalidInput


def check_guidance(guidance: float | None) -> None:
    """Raise InvalidInput for a value between 0 and 1, which no family can do anything with."""
    if guidance is not None and 0 < guidance < 1:
        raise InvalidInput("guidance", f"{guidance:g} is neither off, which is 0 or 1, nor above 1")


def is_guided(guidance: float) -> bool:
    """Whether `guidance` is real: a second evaluation of every step, with the negative prompt."""
    return guidance > 1
