"""What replicas hold, as Serve's controller and Ray's nodes say, before any of them is asked to work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.serve.context import _get_global_client

from serve_app.graph.record import Resources

_LABEL = "accelerator_type:"


def live_holdings(groups: Iterable[Sequence[str]] = ()) -> Mapping[str, Sequence[Resources]]:
    """Return what a replica of each deployment of the calling replica's application may hold. Blocks for some ms.

    ``groups`` are those of the configuration's `colocate`.
    """
    from ray import serve

    application = serve.get_replica_context().app_name
    details = _get_global_client().get_serve_details()
    return with_members(holdings_in(details["applications"][application]["deployments"], ray.nodes()), groups)


def with_members(
    held: Mapping[str, Sequence[Resources]], groups: Iterable[Sequence[str]]
) -> dict[str, Sequence[Resources]]:
    """Return ``held`` with every member of a colocated group, which holds what the group's first, its host, does."""
    hosts = {name: group[0] for group in groups for name in group}
    return {**held, **{name: held[host] for name, host in hosts.items() if host in held}}


def holdings_in(
    deployments: Mapping[str, Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]]
) -> dict[str, Sequence[Resources]]:
    """Read what each deployment's replicas may hold from Serve's details of them and Ray's ``nodes``.

    Which accelerator a share of a GPU is of depends on the node, so there is one entry for each kind in the cluster,
    or none while no node has one.
    """
    kinds = sorted({kind for node in nodes if node["Alive"] for kind in _kinds(node["Resources"])})
    return {name: tuple(_held(each, kinds)) for name, each in deployments.items()}


def _held(deployment: Mapping[str, Any], kinds: Sequence[str]) -> Iterator[Resources]:
    options = deployment["deployment_config"].get("ray_actor_options") or {}
    cpus, gpus = float(options.get("num_cpus") or 0.0), float(options.get("num_gpus") or 0.0)
    if not gpus:
        yield Resources(cpus, 0.0, None)
        return
    wanted = options.get("accelerator_type")
    for kind in kinds if wanted is None else (wanted,):
        yield Resources(cpus, gpus, kind)


def _kinds(resources: Mapping[str, float]) -> Iterator[str]:
    """Return a node's kinds of accelerator; ``unknown`` for one that has GPUs and no label, as a replica says too."""
    labels = [name.removeprefix(_LABEL) for name in resources if name.startswith(_LABEL)]
    yield from labels or (["unknown"] if resources.get("GPU") else [])
