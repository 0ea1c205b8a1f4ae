"""JSON as RFC 8259 means it, from strangers: no NaN, no repeated keys, no bombs, no text that UTF-8 cannot hold."""

from __future__ import annotations

import json
import math
from typing import Any

from serve_app.core.errors import BadRequest
from serve_app.http.service import Limits

Trail = tuple["Trail", str | int] | None
"""How a value is reached: where it is in, and its key or index there. A path as text would be as long as its keys."""

_LONGEST_PATH = 200
_WHOLE = ("body", "request")
"""Values that are a whole submission: their members are named without them."""

LARGEST_INTEGER = 1 << 64
"""The first integer that is refused, either way from zero: seeds have up to 64 bits."""


def parse(raw: bytes, limits: Limits, field: str = "body") -> Any:
    """Return the JSON value that ``raw`` (UTF-8) holds; raise BadRequest naming ``field`` or the key at fault."""
    if raw.count(b",") > limits.json_commas:
        raise BadRequest(field, f"the JSON holds more than {limits.json_commas} values")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except RecursionError as error:
        raise BadRequest(field, f"the JSON is nested deeper than {limits.json_depth}") from error
    except UnicodeDecodeError as error:
        raise BadRequest(field, f"the JSON is not UTF-8: byte {error.start}") from error
    except ValueError as error:  # JSONDecodeError, and integers of more digits than Python converts
        raise BadRequest(field, f"this is not JSON: {error}") from error
    _check(value, limits, field)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that appears twice; the json module would keep the last one without a word."""
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            check_text(key, "body")
            raise BadRequest(key[:_LONGEST_PATH], "the key appears twice in one JSON object")
        members[key] = value
    return members


def _check(value: Any, limits: Limits, field: str) -> None:
    """Walk without recursion, since the depth is what is in doubt."""
    pending: list[tuple[Any, int, Trail]] = [(value, 1, None)]
    while pending:
        item, depth, trail = pending.pop()
        if isinstance(item, dict | list) and depth > limits.json_depth:
            raise BadRequest(field, f"the JSON is nested deeper than {limits.json_depth}")
        if isinstance(item, dict):
            here = _path(trail, field)
            for key in item:  # before its member, in whose path the key would stand
                check_text(key, here)
            pending.extend((member, depth + 1, (trail, key)) for key, member in item.items())
        elif isinstance(item, list):
            pending.extend((member, depth + 1, (trail, index)) for index, member in enumerate(item))
        elif isinstance(item, str):
            check_text(item, _path(trail, field))
        elif isinstance(item, float) and not math.isfinite(item):
            reason = "this is NaN, Infinity or a number no double can say, such as 1e999"
            raise BadRequest(_path(trail, field), reason)
        elif isinstance(item, int) and abs(item) >= LARGEST_INTEGER:
            raise BadRequest(_path(trail, field), "this is an integer of more than 64 bits")


def _path(trail: Trail, field: str) -> str:
    """Return the dotted path of what ``trail`` leads to; ``field`` is what the whole value is called."""
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        steps.append(str(step)[:_LONGEST_PATH])
    if field not in _WHOLE or not steps:
        steps.append(field)
    return ".".join(reversed(steps))[:_LONGEST_PATH]


def check_text(text: str, field: str) -> None:
    r"""Raise BadRequest for text no store keeps: NUL (PostgreSQL has none) and half a surrogate pair (``\ud800``)."""
    if "\x00" in text:
        raise BadRequest(field, "the text holds a NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise BadRequest(field, "the text holds half of a surrogate pair, which is not a character")
