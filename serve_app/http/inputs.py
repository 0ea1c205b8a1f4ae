"""Turns what the wire carried into the types that a pipeline declares for its inputs. Never guesses, never rounds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from serve_app.core.errors import InvalidInput, TooLarge
from serve_app.http import pictures
from serve_app.http.form import Part
from serve_app.http.service import Limits, Upload
from serve_app.http.strict_json import LARGEST_INTEGER

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
# Possessive: a megabyte of digits and a letter would have a backtracking match at work for hours.
_NUMBER = re.compile(r"[+-]?([0-9]++\.?+[0-9]*+|\.[0-9]++)(e[+-]?[0-9]++)?", re.ASCII | re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}
_LONGEST_SHOWN = 40


def convert(declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return ``given`` (name -> JSON value or form Part) as the types in ``declared`` (name -> {"type": word, ...}).

    An alias that a declaration lists has its type and stays an alias: which input it stands for is the plan's affair.
    Raises InvalidInput for an unknown name or a wrong type, InvalidPicture, TooLarge, each naming ``inputs.<name>``.
    """
    kinds = {alias: str(spec["type"]) for name, spec in declared.items() for alias in (name, *spec.get("aliases", ()))}
    values = {}
    for name, value in given.items():
        if name not in kinds:
            known = ", ".join(declared) or "none"
            raise InvalidInput(f"inputs.{name[:_LONGEST_SHOWN]}", f"there is no such input; they are {known}")
        values[name] = _convert(f"inputs.{name}", kinds[name], value, limits)
    return values


def _convert(field: str, kind: str, value: Any, limits: Limits) -> Any:
    if kind == "image":
        return _picture(field, value, limits)
    if kind == "clip":
        return _clip(field, value, limits)
    if kind not in _FROM_JSON:
        raise InvalidInput(field, f"an input of type {kind} cannot be sent over HTTP")
    if not isinstance(value, Part):
        return _FROM_JSON[kind](field, value, limits)
    if value.is_file:
        raise InvalidInput(field, f"a file was sent where {_WANTED[kind]} is wanted")
    return _FROM_TEXT[kind](field, value.text(), limits)


def _picture(field: str, value: Any, limits: Limits) -> Upload:
    if isinstance(value, Part) and value.is_file:
        return pictures.checked(field, Upload(value.data, value.filename or None), limits.upload_bytes)
    text = value.text() if isinstance(value, Part) else value
    if not isinstance(text, str):
        raise InvalidInput(field, f"{_shown(value)} is not a picture; send a data URL, base64 or a file part")
    return pictures.from_text(field, text, limits.upload_bytes)


def _clip(field: str, value: Any, limits: Limits) -> Upload:
    if not isinstance(value, Part) or not value.is_file:
        raise InvalidInput(field, "a video is sent as a file part of multipart/form-data")
    return pictures.checked(field, Upload(value.data, value.filename or None), limits.upload_bytes)


def _text(field: str, value: Any, limits: Limits) -> str:
    if not isinstance(value, str):
        raise _wrong(field, value, "text")
    if len(value.encode()) > limits.text_bytes:
        raise TooLarge(field, f"the text is longer than {limits.text_bytes} bytes")
    return value


def _integer(field: str, value: Any, _limits: Limits) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(field, value, "integer")
    return value


def _number(field: str, value: Any, _limits: Limits) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(field, value, "number")
    return value


def _boolean(field: str, value: Any, _limits: Limits) -> bool:
    if not isinstance(value, bool):
        raise _wrong(field, value, "boolean")
    return value


def _adapter(field: str, value: Any, limits: Limits) -> str | list[str]:
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise _wrong(field, value, "adapter")
    if len("".join(texts).encode()) > limits.text_bytes:
        raise TooLarge(field, f"the text is longer than {limits.text_bytes} bytes")
    given: str | list[str] = value
    return given


def _integer_text(field: str, text: str, _limits: Limits) -> int:
    if not _INTEGER.fullmatch(text) or abs(int(text)) >= LARGEST_INTEGER:
        raise _wrong(field, text, "integer")
    return int(text)


def _number_text(field: str, text: str, _limits: Limits) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise _wrong(field, text, "number")
    return float(text)


def _boolean_text(field: str, text: str, _limits: Limits) -> bool:
    if text not in _BOOLEANS:
        raise _wrong(field, text, "boolean")
    return _BOOLEANS[text]


def _wrong(field: str, value: Any, kind: str) -> InvalidInput:
    return InvalidInput(field, f"{_shown(value)} is not {_WANTED[kind]}")


def _shown(value: Any) -> str:
    """Say what was sent, cut to what a message can hold."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


_Convert = Callable[[str, Any, Limits], Any]
_WANTED = {
    "text": "text",
    "integer": "a whole number",
    "seed": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "adapter": "an adapter's name, such as anime-v2@0.8, or a list of names",
}
_FROM_JSON: dict[str, _Convert] = {
    "text": _text,
    "integer": _integer,
    "seed": _integer,
    "number": _number,
    "boolean": _boolean,
    "adapter": _adapter,
}
_FROM_TEXT: dict[str, _Convert] = {
    "text": _text,
    "integer": _integer_text,
    "seed": _integer_text,
    "number": _number_text,
    "boolean": _boolean_text,
    "adapter": _text,
}
