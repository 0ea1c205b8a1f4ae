"""A pydantic model applied as if it were closed: every key that it does not have is a mistake, at any depth."""

from __future__ import annotations

import copy
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from serve_app.core.errors import Unknown
from serve_app.serving.finding import Finding, below, dotted


def mistakes_in(model: type[BaseModel], value: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield every unknown key in ``value``, with the nearest names, and every value that ``model`` refuses."""
    yield from _unknown_keys(model, value)
    try:
        # Serve's validators write into what they are given.
        model.model_validate(copy.deepcopy(dict(value)))
    except ValidationError as error:
        for mistake in error.errors():
            if mistake["type"] != "extra_forbidden":
                yield Finding(dotted(*mistake["loc"]), mistake["msg"].removeprefix("Value error, "))
    except (AttributeError, TypeError) as error:
        # Serve's own validators expect a mapping wherever the schema has one, and look into it before it is checked.
        yield Finding("", f"has something other than a mapping where one belongs ({error})")


def unknown_name(name: object, known: list[str]) -> Finding:
    """Return the finding for a key that does not exist beside the ``known`` ones."""
    return Finding(str(name), Unknown(str(name), str(name), known).reason)


def _unknown_keys(model: type[BaseModel], value: Mapping[str, Any]) -> Iterator[Finding]:
    for key, part in value.items():
        field = model.model_fields.get(key)
        if field is None:
            yield unknown_name(key, list(model.model_fields))
            continue
        inner = _Inner.of(field.annotation)
        if inner is None:
            continue
        for path, item in inner.mappings(part):
            # Where the schema says "a dict or a model", as for autoscaling_config, pydantic takes any dict as it is.
            check = mistakes_in if inner.is_optional else _unknown_keys
            yield from below(dotted(key, path), check(inner.model, item))


class _Inner(typing.NamedTuple):
    """A model inside an annotation, and how it sits there."""

    model: type[BaseModel]
    is_optional: bool
    """A plain dict is accepted in its place."""
    is_mapped: bool
    """It is the value type of a dict."""

    @classmethod
    def of(cls, annotation: Any) -> _Inner | None:
        """Return the model under any Optional, Union, list or dict; None if there is none."""
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return cls(annotation, False, False)
        parts = typing.get_args(annotation)
        found = next((inner for part in parts if (inner := cls.of(part))), None)
        if found is None:
            return None
        is_mapped = typing.get_origin(annotation) is dict or found.is_mapped
        is_optional = found.is_optional or any(part is dict or typing.get_origin(part) is dict for part in parts)
        return found._replace(is_mapped=is_mapped, is_optional=is_optional and not is_mapped)

    def mappings(self, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the mappings in ``value`` that stand for the model, each with its path."""
        items: list[tuple[Any, Any]] = [("", value)]
        if isinstance(value, list):
            items = list(enumerate(value))
        elif self.is_mapped and isinstance(value, Mapping):
            items = list(value.items())
        for path, item in items:
            if isinstance(item, Mapping):
                yield str(path), item
