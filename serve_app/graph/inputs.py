"""A request's inputs held against what the pipeline declares: names, aliases, types, ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from serve_app.core.adapter import WantedAdapters
from serve_app.core.artifact import Artifact
from serve_app.core.errors import BadRequest, InvalidInput, Misconfigured, Unknown
from serve_app.core.media import Clip, Image
from serve_app.graph.spec import InputSpec

MAX_SEED = 2**63 - 1
MAX_TEXT = 32_000
"""Characters in one text input."""


def take_inputs(specs: Mapping[str, InputSpec], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every declared input by its own name, defaults filled in; None for an optional one that was left out.

    Raises InvalidInput naming `inputs.<name>` for an unknown name, a value given twice through an alias, a missing one,
    or one of the wrong type or range; BadRequest for an adapter that is missing.
    """
    owners = {alias: name for name, spec in specs.items() for alias in (name, *spec.aliases)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in owners:
            raise InvalidInput(f"inputs.{key}", Unknown(key, key, list(owners)).reason)
        if owners[key] in values:
            raise InvalidInput(f"inputs.{key}", f"{owners[key]} is given twice, under two names")
        values[owners[key]] = value
    return {name: _take(name, spec, values.get(name)) for name, spec in specs.items()}


def check_inputs(where: str, specs: Mapping[str, InputSpec]) -> None:
    """Raise Misconfigured for an alias that stands for two inputs, and for a default that is not legal."""
    owners: dict[str, str] = {}
    for name, spec in specs.items():
        for alias in (name, *spec.aliases):
            if alias in owners:
                raise Misconfigured(f"{where} inputs.{name}", f"{alias} already stands for {owners[alias]}")
            owners[alias] = name
        fault = None if spec.default is None else _fault(spec, spec.default)
        if fault:
            raise Misconfigured(f"{where} inputs.{name}.default", fault)


def _take(name: str, spec: InputSpec, value: Any) -> Any:
    value = spec.default if value is None else value
    if value is None:
        if spec.is_required:
            # The API that callers of character adapters know answers 400 where one is wanted and none is named.
            kind = BadRequest if spec.type == "adapter" else InvalidInput
            raise kind(f"inputs.{name}", f"is required ({spec.type})")
        if spec.type == "seed":
            raise InvalidInput(f"inputs.{name}", "a seed is drawn before a run is bound")
        return None
    fault = _fault(spec, value)
    if fault:
        raise InvalidInput(f"inputs.{name}", fault)
    return value


def _fault(spec: InputSpec, value: Any) -> str | None:
    """Return what is wrong with ``value``, or None. A boolean is no number, and text is never a number."""
    match spec.type:
        case "text":
            is_right = isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_TEXT
            return None if is_right else f"is text of 1 to {MAX_TEXT} characters"
        case "boolean":
            return None if isinstance(value, bool) else "is true or false"
        case "image":
            return None if isinstance(value, Artifact | Image) else "is a picture"
        case "clip":
            return None if isinstance(value, Artifact | Clip) else "is a video"
        case "adapter":
            return _adapter_fault(value)
        case "seed":
            is_right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED
            return None if is_right else f"is a whole number from 0 to {MAX_SEED}"
        case "integer":
            if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_SEED:
                return f"is a whole number of at most {MAX_SEED}"
        case "number":
            if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MAX_SEED:
                return f"is a finite number of at most {MAX_SEED}"  # compared, not converted: 10**400 is no float
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    return None if low <= value <= high else f"is from {low:g} to {high:g}, not {value:g}"


def _adapter_fault(value: Any) -> str | None:
    try:
        WantedAdapters.parse(value)
    except InvalidInput as error:
        return error.reason
    return None
