"""JSON as RFC 8259 means it, from strangers: no NaN, no repeated keys, no bombs, no text that UTF-8 cannot hold."""

from __future__ import annotations

import json
import math
from typing import Any

from serve_app.core.errors import BadRequest
from serve_app.http.service import Limits

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
            raise BadRequest(key, "the key appears twice in one JSON object")
        members[key] = value
    return members


def _check(value: Any, limits: Limits, field: str) -> None:
    """Walk without recursion, since the depth is what is in doubt."""
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, dict | list) and depth > limits.json_depth:
            raise BadRequest(field, f"the JSON is nested deeper than {limits.json_depth}")
        if isinstance(item, dict):
            pending.extend((key, depth) for key in item)
            pending.extend((member, depth + 1) for member in item.values())
        elif isinstance(item, list):
            pending.extend((member, depth + 1) for member in item)
        elif isinstance(item, str):
            check_text(item, field)
        elif isinstance(item, float) and not math.isfinite(item):
            raise BadRequest(field, "the JSON holds NaN, Infinity or a number no double can say, such as 1e999")
        elif isinstance(item, int) and abs(item) >= LARGEST_INTEGER:
            raise BadRequest(field, "the JSON holds an integer of more than 64 bits")


def check_text(text: str, field: str) -> None:
    r"""Raise BadRequest for text no store keeps: NUL (PostgreSQL has none) and half a surrogate pair (``\ud800``)."""
    if "\x00" in text:
        raise BadRequest(field, "the text holds a NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise BadRequest(field, "the text holds half of a surrogate pair, which is not a character")
