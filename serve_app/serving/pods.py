"""The groups of pods in a RayService, and what KubeRay's operator refuses about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray

from serve_app.serving.finding import Finding

_RESOURCE_PARAMS = ("num-cpus", "num-gpus", "memory", "resources")


@dataclass(frozen=True)
class Group:
    """A head or worker group: where it stands in `rayClusterConfig`, its name and its parts."""

    where: str
    name: str
    spec: Mapping[str, Any]

    @property
    def pod(self) -> Mapping[str, Any]:
        """The pod's spec; empty when it is missing."""
        return _mapping(_mapping(self.spec.get("template")).get("spec"))

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """The pod's containers, Ray's own first."""
        containers = self.pod.get("containers")
        return [_mapping(item) for item in containers] if isinstance(containers, list) else []

    @property
    def limits(self) -> Mapping[str, Any]:
        """The resource limits of Ray's container."""
        return _mapping(_mapping(self.containers[0].get("resources")).get("limits")) if self.containers else {}

    @property
    def is_gpu(self) -> bool:
        """True when Ray's container asks for GPUs."""
        return any("gpu" in str(name) for name in self.limits)


def groups_of(cluster: Mapping[str, Any]) -> list[Group]:
    """Return the head group and every worker group of a `rayClusterConfig`."""
    workers = cluster.get("workerGroupSpecs")
    return [
        Group("headGroupSpec", "head", _mapping(cluster.get("headGroupSpec"))),
        *(
            Group(f"workerGroupSpecs.{index}", str(_mapping(group).get("groupName")), _mapping(group))
            for index, group in enumerate(workers if isinstance(workers, list) else [])
        ),
    ]


def cluster_problems(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with a `rayClusterConfig`, paths relative to it."""
    groups = groups_of(cluster)
    for name, count in Counter(group.name for group in groups).items():
        if count > 1:
            yield Finding("workerGroupSpecs", f"{count} groups are called {name}")
    for group in groups:
        yield from _group_problems(group)
        if _has_autoscaler_v2(cluster) and group.pod.get("restartPolicy") not in (None, "Never"):
            yield Finding(f"{group.where}.template.spec.restartPolicy", "is Never with autoscaler v2")
    version = str(cluster.get("rayVersion", ""))
    if version != ray.__version__:
        yield Finding("rayVersion", f"is {version or 'missing'}, and this is checked against Ray {ray.__version__}")


def _group_problems(group: Group) -> Iterator[Finding]:
    if not group.containers:
        yield Finding(f"{group.where}.template.spec.containers", "has at least one container")
    params = _mapping(group.spec.get("rayStartParams"))
    for name, value in params.items():
        if not isinstance(value, str):
            yield Finding(f"{group.where}.rayStartParams.{name}", f"is text: write '{value}', in quotes")
    if "labels" in params:
        yield Finding(f"{group.where}.rayStartParams.labels", "belongs into the group's own `labels`")
    if group.spec.get("resources") and any(params.get(name) for name in _RESOURCE_PARAMS):
        yield Finding(f"{group.where}.resources", "are given in rayStartParams as well; use one of the two")
    low, high = group.spec.get("minReplicas", 0), group.spec.get("maxReplicas")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield Finding(f"{group.where}.minReplicas", f"{low} is above maxReplicas, {high}")
    if group.is_gpu and not group.pod.get("tolerations"):
        reason = "GPU nodes are usually tainted, and a pod without tolerations waits for ever"
        yield Finding(f"{group.where}.template.spec.tolerations", reason)


def _has_autoscaler_v2(cluster: Mapping[str, Any]) -> bool:
    """KubeRay's default since Ray 2.47 is v2."""
    version = _mapping(cluster.get("autoscalerOptions")).get("version", "v2")
    return bool(cluster.get("enableInTreeAutoscaling")) and version == "v2"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
