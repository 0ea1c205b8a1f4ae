"""The shipped profile and manifest as documents to spoil."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from serve_app.graph.spec import read_yaml

ROOT = Path(__file__).parents[2]
PROFILES = sorted((ROOT / "serve_app" / "profiles").glob("*.yaml"))
CLUSTER = ROOT / "cluster.yaml"
CRD = ROOT.parent / "shared" / "data" / "ray.io_rayservices-1.7.0.yaml"


def profile(name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a profile in which some paths are set to other values; None removes."""
    return changed(read_yaml(ROOT / "serve_app" / "profiles" / f"{name}.yaml"), changes)


def manifest(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return cluster.yaml in which some paths are set to other values; None removes."""
    return changed(read_yaml(CLUSTER), changes)


def changed(document: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    """Return a copy with paths set, or removed by None: parts joined by slashes, numbers are list indices."""
    result = copy.deepcopy(document)
    for path, value in (changes or {}).items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        part: Any = result
        for parent in parents:
            part = part[parent]
        if value is None:
            del part[last]
        elif isinstance(part, list) and last == len(part):
            part.append(value)
        else:
            part[last] = value
    return result
