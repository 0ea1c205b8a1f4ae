"""RayService manifests (ray.io/v1, KubeRay 1.7): what the operator refuses, what Serve ignores, what kills a render.

The operator's rules are those of ray-operator/controllers/ray/utils/validation.go. No cluster is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from serve_app.config import AppConfig
from serve_app.core.errors import Misconfigured
from serve_app.serving.application import IMPORT_PATH
from serve_app.serving.documents import documents_in
from serve_app.serving.finding import Finding, below
from serve_app.serving.pods import Group, cluster_problems, groups_of
from serve_app.serving.strict import problems_in

CONFIG = "spec.serveConfigV2"
_NAME_LENGTH = 47
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
_INITIALIZING_TIMEOUT = "ray.io/initializing-timeout"
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+|[0-9]+")
_DEFAULT_DELETION_DELAY_S = 60


def problems_in_manifest(document: Mapping[str, Any]) -> list[Finding]:
    """Return every mistake in a parsed RayService, its serveConfigV2 included."""
    spec = document.get("spec")
    cluster = spec.get("rayClusterConfig") if isinstance(spec, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(cluster, Mapping):
        return [Finding("spec.rayClusterConfig", "a RayService has one")]
    found = [*_metadata_problems(document.get("metadata")), *_upgrade_problems(spec, cluster)]
    found += below("spec.rayClusterConfig", cluster_problems(cluster))
    config = serve_config_in(document)
    if isinstance(config, Finding):
        return [*found, config]
    found += below(CONFIG, problems_in(config))
    return [*found, *_patience_problems(spec, cluster, config), *_sharing_problems(config)]


def serve_config_in(document: Mapping[str, Any]) -> dict[str, Any] | Finding:
    """Return the Serve config that a RayService carries as text, or what is wrong with that text."""
    text = document.get("spec", {}).get("serveConfigV2")
    if not isinstance(text, str):
        return Finding(CONFIG, "is the Serve config file as text, after `serveConfigV2: |`")
    try:
        documents = documents_in(text, CONFIG)
    except Misconfigured as error:
        return Finding(CONFIG, error.reason)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        return Finding(CONFIG, "is one mapping")
    return documents[0]


def _metadata_problems(metadata: Any) -> Iterator[Finding]:
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        rule = f"is a name of at most {_NAME_LENGTH} lower-case letters, digits and hyphens that begins with a letter"
        yield Finding("metadata.name", rule)
    notes = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    timeout = notes.get(_INITIALIZING_TIMEOUT) if isinstance(notes, Mapping) else None
    if timeout is not None and not (isinstance(timeout, str) and _DURATION.fullmatch(timeout) and timeout != "0"):
        yield Finding(f"metadata.annotations.{_INITIALIZING_TIMEOUT}", "is a duration such as '30m', in quotes")


def _upgrade_problems(spec: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Finding]:
    strategy = spec.get("upgradeStrategy")
    kind = strategy.get("type") if isinstance(strategy, Mapping) else None
    where = "spec.upgradeStrategy"
    if kind not in (None, *_UPGRADES):
        yield Finding(f"{where}.type", f"is one of {', '.join(_UPGRADES)}")
    if kind != "NewClusterWithIncrementalUpgrade" or not isinstance(strategy, Mapping):
        return
    if not cluster.get("enableInTreeAutoscaling"):
        yield Finding(where, "an incremental upgrade needs enableInTreeAutoscaling")
    options = strategy.get("clusterUpgradeOptions")
    if not isinstance(options, Mapping):
        yield Finding(f"{where}.clusterUpgradeOptions", "an incremental upgrade needs them")
        return
    for name in ("stepSizePercent", "intervalSeconds", "gatewayClassName"):
        if not options.get(name):
            yield Finding(f"{where}.clusterUpgradeOptions.{name}", "an incremental upgrade needs it")


def _patience_problems(
    spec: Mapping[str, Any], cluster: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Finding]:
    """Hold Kubernetes' patience against Serve's: a pod that is killed earlier takes the render with it."""
    longest_s = max((_grace_s(entry) for entry in _entries(config)), default=0.0)
    delay_s = spec.get("rayClusterDeletionDelaySeconds", _DEFAULT_DELETION_DELAY_S)
    if isinstance(delay_s, int) and delay_s < longest_s:
        reason = f"{delay_s} s end before the longest graceful_shutdown_timeout_s, {longest_s:g} s"
        yield Finding("spec.rayClusterDeletionDelaySeconds", f"{reason}: an upgrade would kill a render")
    if not any(_gpus(entry) for entry in _entries(config)):
        return
    gpu_groups = [group for group in groups_of(cluster) if group.is_gpu]
    if not gpu_groups:
        yield Finding("spec.rayClusterConfig.workerGroupSpecs", "no group has a GPU, and a deployment asks for one")
    for group in gpu_groups:
        yield from below("spec.rayClusterConfig", _pod_patience(group, longest_s))


def _pod_patience(group: Group, longest_s: float) -> Iterator[Finding]:
    seconds = group.pod.get("terminationGracePeriodSeconds", 30)
    if isinstance(seconds, int) and seconds < longest_s:
        reason = f"{seconds} s end before the longest graceful_shutdown_timeout_s, {longest_s:g} s"
        yield Finding(f"{group.where}.template.spec.terminationGracePeriodSeconds", reason)


def _sharing_problems(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Refuse a run store that pods cannot share."""
    for index, application in enumerate(_applications(config)):
        args = application.get("args")
        if application.get("import_path") != IMPORT_PATH or not isinstance(args, Mapping):
            continue
        url = args.get("store_url", AppConfig.model_fields["store_url"].default)
        if not isinstance(url, str) or url.startswith("sqlite"):
            reason = "a SQLite file cannot be shared between pods; give a PostgreSQL URL"
            yield Finding(f"{CONFIG}.applications.{index}.args.store_url", reason)


def _applications(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    applications = config.get("applications")
    return [item for item in applications if isinstance(item, Mapping)] if isinstance(applications, list) else []


def _entries(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    lists = [application.get("deployments") for application in _applications(config)]
    return [entry for entries in lists if isinstance(entries, list) for entry in entries if isinstance(entry, Mapping)]


def _grace_s(entry: Mapping[str, Any]) -> float:
    seconds = entry.get("graceful_shutdown_timeout_s")
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _gpus(entry: Mapping[str, Any]) -> bool:
    options = entry.get("ray_actor_options")
    return isinstance(options, Mapping) and bool(options.get("num_gpus"))
