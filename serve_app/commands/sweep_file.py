"""A sweep as a person writes it: a YAML file, options of the command line, or both; and the note left to resume by."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve_app.commands.run import parse_inputs
from serve_app.commands.sweeping import with_files
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.graph.spec import read_yaml
from serve_app.runs.sweep import SweepSpec

NOTE = "sweep.json"
"""The file of a sweep's folder that says what it is and who carries it out."""


@dataclass(frozen=True)
class Place:
    """Where sweeps are carried out: by the server at ``url``; None is this process, with the stages of ``profile``.

    Without a profile, it is the first shipped one that serves the pipeline.
    """

    url: str | None
    profile: str | None


@dataclass(frozen=True)
class Note:
    """What it takes to go on with a sweep: its id and specification, and where it is carried out."""

    id: str
    spec: SweepSpec
    place: Place

    def write(self, folder: Path) -> None:
        """Leave the note in ``folder``."""
        spec = with_files(self.spec, lambda path: f"@{path.absolute()}")
        document = {"id": self.id, "spec": spec, **vars(self.place)}
        (folder / NOTE).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Note:
        """Return the note in ``folder``; raise InvalidInput when there is none."""
        try:
            document = json.loads((folder / NOTE).read_text(encoding="utf-8"))
            place = Place(document["url"], document["profile"])
            return cls(document["id"], parse_spec(document["spec"], folder), place)
        except (OSError, ValueError, KeyError) as error:
            raise InvalidInput("--resume", f"{folder} holds no sweep: {error}") from error


def spec_of(arguments: argparse.Namespace) -> SweepSpec:
    """Return the sweep that FILE and the options ask for together; an option adds to the file, or takes its place."""
    document: dict[str, Any] = {}
    root = Path()
    if arguments.file is not None:
        read = read_yaml(arguments.file)
        if not isinstance(read, dict):
            raise Misconfigured(str(arguments.file), "a sweep is a mapping with pipelines and over")
        document, root = read, arguments.file.parent
    if arguments.pipelines:
        document["pipelines"] = arguments.pipelines
    spec = parse_spec(document, root, _axes(arguments.over), parse_inputs(arguments.inputs))
    given = {name: getattr(arguments, name) for name in ("concurrency", "score", "ladder", "tolerance", "max_cells")}
    changes = {name: value for name, value in given.items() if value is not None}
    return checked_spec({**with_files(spec, lambda path: path, tuple), **changes}) if changes else spec


def _axes(given: Sequence[str]) -> dict[str, list[Any]]:
    """Return NAME=V1,V2 pairs as axes; values with commas of their own are a JSON list: prompt='["a, b", "c"]'."""
    axes: dict[str, list[Any]] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name or not text:
            raise InvalidInput("--over", f"{pair!r} is not NAME=VALUE,VALUE")
        if name in axes:
            raise InvalidInput(f"over.{name}", "is given twice")
        axes[name] = _listed(name, text)
    return axes


def _listed(name: str, text: str) -> list[Any]:
    if not text.startswith("["):
        return [parse_inputs([f"{name}={each}"])[name] for each in text.split(",")]
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"over.{name}", f"is not a JSON list: {error}") from error
    return list(values)


def parse_spec(
    document: Mapping[str, Any],
    root: Path,
    over: Mapping[str, Sequence[Any]] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> SweepSpec:
    """Return ``document`` as a sweep, with ``over`` and ``inputs`` added; `@FILE` is a file, relative to ``root``.

    Raises InvalidInput naming the field.
    """
    try:
        plain = json.loads(json.dumps(document))
    except (TypeError, ValueError) as error:
        raise InvalidInput("sweep", f"holds what is no JSON: {error}") from error

    def say(value: Any) -> Any:
        if not (isinstance(value, str) and value.startswith("@")):
            return value
        path = root / value[1:]
        if not path.is_file():
            raise InvalidInput(value, f"there is no file {path}")
        return path

    fields = dict(plain)
    for name in ("inputs", "over", "variants"):
        if not isinstance(fields.get(name, {}), dict):
            raise InvalidInput(name, "is a mapping")
    axes = {name: tuple(map(say, _list(f"over.{name}", values))) for name, values in fields.get("over", {}).items()}
    fields["over"] = {**axes, **{name: tuple(values) for name, values in (over or {}).items()}}
    fields["inputs"] = {**{name: say(value) for name, value in fields.get("inputs", {}).items()}, **(inputs or {})}
    if isinstance(fields.get("pipelines"), list):
        fields["pipelines"] = tuple(fields["pipelines"])
    return checked_spec(fields)


def _list(field: str, values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise InvalidInput(field, "is a list of values")
    return values


def checked_spec(fields: Mapping[str, Any]) -> SweepSpec:
    """Return ``fields`` (axes as tuples, files as Paths) as a sweep; raise InvalidInput naming the first at fault."""
    try:
        return SweepSpec.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "sweep"
        raise InvalidInput(field, first["msg"].removeprefix("Value error, ")) from error
