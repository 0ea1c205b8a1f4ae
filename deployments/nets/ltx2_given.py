"""What LTX-2 is told: a prompt that it encodes itself, or one that came encoded. No torch in here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from deployments.nets.negatives import Negatives, facts_of, warn_where_inert
from serve_app.core.conditioning import Conditioning
from serve_app.core.errors import InvalidInput

Given = str | Conditioning
TextEncoder = Literal["own", "none"]

DEFAULT_TOKENS = 1024
"""Tokens of a prompt that are read; with an encoded one, whatever that was cut to."""

_PORTS = {"own": ("prompt", "conditioning"), "none": ("conditioning", "prompt")}
_WHY = {
    "own": "the weights have a text encoder of their own, and read no other's",
    "none": "the weights have `text_encoder: none`, so prompts come encoded",
}


def check_wires(text_encoder: TextEncoder, ports: frozenset[str]) -> None:
    """Raise InvalidInput naming `prompt` or `conditioning`: the weights take the one or the other."""
    needed, strange = _PORTS[text_encoder]
    if strange in ports:
        raise InvalidInput(strange, f"{_WHY[text_encoder]}; connect {needed}")
    if needed not in ports:
        raise InvalidInput(needed, f"is needed: {_WHY[text_encoder]}")


def given_of(text_encoder: TextEncoder, prompt: str | None, conditioning: Conditioning | None) -> Given:
    """Return the one of the two that the weights take. Raises InvalidInput naming the other, or what is missing."""
    both = {"prompt": prompt, "conditioning": conditioning}
    check_wires(text_encoder, frozenset(name for name, value in both.items() if value is not None))
    given = prompt if conditioning is None else conditioning
    assert given is not None
    return given


def check_params(params: Negatives, given: Given) -> None:
    """Raise InvalidInput naming what would be ignored, as it is said where the prompt is encoded."""
    if isinstance(given, str):
        return
    if params.negative_prompt is not None:
        raise InvalidInput("negative_prompt", "is read where the prompt is encoded; give it to that node")
    if params.negatives != "none":
        raise InvalidInput("negatives", "are read where the prompt is encoded; give them to that node")


def warn_where_unread(params: Negatives, given: Given, is_guided: bool, warn: Callable[[str], None]) -> None:
    """Warn of what to avoid where there is no guidance: it has no effect."""
    if isinstance(given, str):
        warn_where_inert(params, is_guided, warn)
    elif given.negative is not None and not is_guided:
        warn("the negative prompt that was encoded has no effect at guidance 1")


def said_of(params: Negatives, given: Given, is_guided: bool) -> dict[str, str | None]:
    """Return what a report says of the texts: who encoded them, and what is avoided."""
    if isinstance(given, str):
        return {"text_encoder": "own", **facts_of(params, is_guided)}
    avoided = given.negative.text if is_guided and given.negative is not None else None
    return {"text_encoder": given.encoder.model, "negative_prompt": avoided}
