"""A Kubernetes manifest against its CustomResourceDefinition, as the API server would hold it with strict validation.

The structural schema of a CRD (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/)
becomes a closed JSON Schema: keys that it does not name are mistakes. CEL rules (`x-kubernetes-validations`) are not
evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from serve_app.core.errors import Misconfigured
from serve_app.serving.finding import Finding, dotted

_NOT_JSON_SCHEMA = ("default", "description", "format", "nullable")
_DOCUMENT = ("apiVersion", "kind", "metadata")
_LONGEST_MESSAGE = 300


def crd_problems(document: Mapping[str, Any], crd: Path) -> Iterator[Finding]:
    """Yield what the schema in ``crd``, a CustomResourceDefinition, refuses in ``document``.

    Raises Misconfigured when the package jsonschema is missing, or when ``crd`` does not define this kind and version.
    """
    try:
        import jsonschema
    except ImportError as error:
        raise Misconfigured("--crd", "needs the package jsonschema: pip install jsonschema") from error
    validator = jsonschema.Draft202012Validator(closed_schema(crd, document))
    for mistake in validator.iter_errors(document):
        yield Finding(dotted(*mistake.absolute_path), mistake.message[:_LONGEST_MESSAGE])


def closed_schema(crd: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema in ``crd`` for ``document``'s version; raise Misconfigured when there is none."""
    definition = _read(crd)
    group, _, version = str(document.get("apiVersion")).rpartition("/")
    try:
        spec = definition["spec"]
        if (spec["group"], spec["names"]["kind"]) != (group, document.get("kind")):
            raise Misconfigured(str(crd), f"defines {spec['group']} {spec['names']['kind']}")
        schemas = {item["name"]: item["schema"]["openAPIV3Schema"] for item in spec["versions"]}
        schema = _closed(schemas[version])
    except (KeyError, TypeError) as error:
        raise Misconfigured(str(crd), f"is no CustomResourceDefinition of {group}/{version}: no {error}") from error
    schema["properties"] |= {key: {} for key in _DOCUMENT}  # every object has them, whatever the CRD says
    return schema


def _read(crd: Path) -> Any:
    # libyaml, where it is there, reads this megabyte in 0.2 s instead of 3.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(crd.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Misconfigured(str(crd), " ".join(str(error).split())) from error


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return one node of a structural schema, and all below it, as closed JSON Schema."""
    kept = {key: value for key, value in schema.items() if key not in _NOT_JSON_SCHEMA and not key.startswith("x-")}
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("type", None)
        kept["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in schema:
        kept["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            kept[key] = _closed(schema[key])
    if "required" in schema:
        # The API server fills defaults in before it validates.
        parts = schema.get("properties", {})
        kept["required"] = [name for name in schema["required"] if "default" not in parts.get(name, {})]
    if schema.get("nullable") and "type" in kept:
        kept["type"] = [kept["type"], "null"]
    return kept
