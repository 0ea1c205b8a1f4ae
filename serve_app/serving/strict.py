"""Ray Serve config files, held against Serve's own schema without its forgiveness.

Serve ignores an option that it does not know (https://github.com/ray-project/ray/issues/61439): `min_replica: 2`
deploys without a word and does nothing. Here an unknown key is a mistake at any depth, with the nearest names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ray.runtime_env import RuntimeEnv
from ray.serve.schema import ServeDeploySchema

from serve_app.serving.application import IMPORT_PATH, application_problems
from serve_app.serving.closed import mistakes_in, unknown_name
from serve_app.serving.finding import Finding, below, dotted


def problems_in(document: Any) -> list[Finding]:
    """Return every mistake in a parsed Serve config file; an empty list means that Serve will do what it says."""
    if not isinstance(document, Mapping):
        return [Finding("", "a Serve config file is a mapping with applications")]
    found = [*mistakes_in(ServeDeploySchema, document), *_runtime_env_problems(document)]
    applications = document.get("applications")
    ours = [
        (index, application)
        for index, application in enumerate(applications if isinstance(applications, list) else [])
        if isinstance(application, Mapping) and application.get("import_path") == IMPORT_PATH
    ]
    if not ours:
        found.append(Finding("applications", f"none has import_path {IMPORT_PATH}"))
    for index, application in ours:
        found += below(dotted("applications", index), application_problems(application))
    return found


def _runtime_env_problems(value: Any) -> Iterator[Finding]:
    """Yield the unknown keys of every `runtime_env`, which is a free dict in Serve's schema."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    known = sorted(RuntimeEnv.known_fields)
    for key, part in items:
        if key == "runtime_env" and isinstance(part, Mapping):
            yield from below(key, (unknown_name(name, known) for name in part if name not in known))
        elif key not in ("args", "user_config"):
            yield from below(str(key), _runtime_env_problems(part))
