"""Greenlight's own application inside a Serve config file: its args, its deployments, and their shares of a machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serve_app.config import OWN_DEPLOYMENTS, AppConfig, deployments_of, plans_of, seeds_of
from serve_app.core.errors import Misconfigured, Unknown
from serve_app.runs.database import parse_url
from serve_app.serving.closed import mistakes_in
from serve_app.serving.finding import Finding, below, dotted

IMPORT_PATH = "serve_app.app:build"
GENERATORS = "generate."
"""How the names of stages begin that hold a generative model."""


def application_problems(application: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield every mistake in one entry of `applications`, paths relative to it."""
    args = application.get("args", {})
    if not isinstance(args, Mapping):
        return  # Serve's own schema says so
    mistakes = list(below("args", mistakes_in(AppConfig, args)))
    if mistakes:
        yield from mistakes
        return
    try:
        config = AppConfig.model_validate(args)
        stages = {name: deployment.contract.name for name, deployment in deployments_of(config).items()}
        plans_of(config)
        seeds_of(config)
    except Misconfigured as error:
        yield Finding("args", str(error))
        return
    try:
        parse_url(config.run_store_url)
    except Misconfigured as error:
        yield Finding("args.store_url", error.reason)
    entries = application.get("deployments", [])
    named = [
        (dotted("deployments", index), entry)
        for index, entry in enumerate(entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)
    ]
    hosted = {name: host for name in stages if (host := config.host_of(name)) != name}
    for where, entry in named:
        if (head := hosted.get(entry["name"])) is not None:
            yield Finding(f"{where}.name", f"{entry['name']} is colocated: {head}'s entry is that of its whole group")
    created = [*OWN_DEPLOYMENTS, *(name for name in stages if name not in hosted)]
    yield from _names([(where, entry["name"]) for where, entry in named if entry["name"] not in hosted], created)
    for where, entry in named:
        members = config.members_of(entry["name"])
        is_generator = any(stages.get(member, "").startswith(GENERATORS) for member in members)
        yield from below(where, _shares(entry, is_generator))
        yield from below(where, _room(entry, len(members)))
        if is_generator and entry.get("graceful_shutdown_timeout_s") is None:
            yield Finding(where, "graceful_shutdown_timeout_s is not set, and Serve kills a render after 20 s")


def _names(given: list[tuple[str, str]], created: list[str]) -> Iterator[Finding]:
    """Compare the deployments in the file with those that the application will create."""
    seen = set()
    for where, name in given:
        if name not in created:
            reason = Unknown(where, name, created).reason
            yield Finding(f"{where}.name", f"{reason} The application creates {', '.join(created)}")
        if name in seen:
            yield Finding(f"{where}.name", f"{name} is given twice")
        seen.add(name)
    for name in created:
        if name not in seen:
            yield Finding("deployments", f"{name} has no entry, and would get Serve's defaults")


def _room(entry: Mapping[str, Any], members: int) -> Iterator[Finding]:
    """Refuse a group's deployment in which one member's calls could keep the others' out."""
    ongoing = entry.get("max_ongoing_requests")
    if members > 1 and isinstance(ongoing, int) and ongoing < 2 * members:
        reason = f"{ongoing} is under two for each of its {members} colocated stages: they would wait for each other"
        yield Finding("max_ongoing_requests", reason)


def _shares(entry: Mapping[str, Any], is_generator: bool) -> Iterator[Finding]:
    """Check a replica's share of a GPU, and whether Serve can keep the replica busy with it."""
    options = entry.get("ray_actor_options")
    gpus = options.get("num_gpus") if isinstance(options, Mapping) else None
    if not isinstance(gpus, int | float) or isinstance(gpus, bool) or not gpus:
        return
    where = "ray_actor_options.num_gpus"
    if gpus > 1 and gpus != int(gpus):
        yield Finding(where, f"{gpus:g} is more than one GPU and no whole number of them, which Ray cannot give")
    if is_generator and gpus <= 0.5:
        yield Finding(where, f"at {gpus:g}, Ray may put two generators on one GPU; take more than 0.5")
    if entry.get("max_ongoing_requests") == 1:
        yield Finding("max_ongoing_requests", "1 leaves the GPU idle between two calls; 2 does not, and one waits")
