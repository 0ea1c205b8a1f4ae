"""A RayService: what the operator refuses, and what would kill a render."""

from typing import Any

import pytest

from serve_app.serving.manifest import problems_in_manifest
from tests.serving.documents import manifest

CLUSTER = "spec/rayClusterConfig"
GPU = f"{CLUSTER}/workerGroupSpecs/1"
AT_GPU = "spec.rayClusterConfig.workerGroupSpecs.1"
INCREMENTAL = {"type": "NewClusterWithIncrementalUpgrade"}


def test_the_shipped_manifest_has_no_problem() -> None:
    assert [str(finding) for finding in problems_in_manifest(manifest())] == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"metadata/name": "Green"}, "metadata.name: is a name of at most 47 lower-case letters"),
        ({"metadata/name": "g" * 48}, "metadata.name: is a name of at most 47"),
        ({"metadata/annotations": {"ray.io/initializing-timeout": "soon"}}, "metadata.annotations.ray.io/initializing"),
        ({"spec/upgradeStrategy": {"type": "Rolling"}}, "spec.upgradeStrategy.type: is one of NewCluster, "),
        ({"spec/upgradeStrategy": INCREMENTAL}, "spec.upgradeStrategy.clusterUpgradeOptions: an incremental upgrade"),
        (
            {"spec/upgradeStrategy": INCREMENTAL, f"{CLUSTER}/enableInTreeAutoscaling": False},
            "spec.upgradeStrategy: an incremental upgrade needs enableInTreeAutoscaling",
        ),
        (
            {"spec/upgradeStrategy": INCREMENTAL | {"clusterUpgradeOptions": {"stepSizePercent": 10}}},
            "spec.upgradeStrategy.clusterUpgradeOptions.intervalSeconds: an incremental upgrade needs it",
        ),
        ({CLUSTER: None}, "spec.rayClusterConfig: a RayService has one"),
        ({f"{CLUSTER}/rayVersion": "2.59.0"}, "spec.rayClusterConfig.rayVersion: is 2.59.0, and this is checked"),
        ({f"{GPU}/groupName": "cpu"}, "spec.rayClusterConfig.workerGroupSpecs: 2 groups are called cpu"),
        ({f"{GPU}/minReplicas": 9}, f"{AT_GPU}.minReplicas: 9 is above maxReplicas, 4"),
        ({f"{GPU}/rayStartParams/num-cpus": 12}, f"{AT_GPU}.rayStartParams.num-cpus: is text: write '12', in quotes"),
        ({f"{GPU}/rayStartParams/labels": "a=b"}, f"{AT_GPU}.rayStartParams.labels: belongs into the group's own"),
        (
            {f"{GPU}/resources": {"CPU": "1"}, f"{GPU}/rayStartParams/num-cpus": "1"},
            f"{AT_GPU}.resources: are given in rayStartParams as well",
        ),
        ({f"{GPU}/template/spec/tolerations": None}, f"{AT_GPU}.template.spec.tolerations: GPU nodes are usually"),
        ({f"{GPU}/template/spec/containers": []}, f"{AT_GPU}.template.spec.containers: has at least one container"),
        ({f"{GPU}/template/spec/restartPolicy": "Always"}, f"{AT_GPU}.template.spec.restartPolicy: is Never with auto"),
    ],
)
def test_what_the_operator_refuses_is_refused(changes: dict[str, Any], finding: str) -> None:
    found = problems_in_manifest(manifest(changes))
    assert any(str(each).startswith(finding) for each in found), found


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"spec/rayClusterDeletionDelaySeconds": None}, "spec.rayClusterDeletionDelaySeconds: 60 s end before the"),
        ({f"{GPU}/template/spec/terminationGracePeriodSeconds": None}, f"{AT_GPU}.template.spec.terminationGracePeri"),
        ({GPU: None}, "spec.rayClusterConfig.workerGroupSpecs: no group has a GPU, and a deployment asks for one"),
    ],
)
def test_what_would_kill_or_starve_a_render_is_refused(changes: dict[str, Any], finding: str) -> None:
    found = problems_in_manifest(manifest(changes))
    assert any(str(each).startswith(finding) for each in found), found


def test_pods_cannot_share_a_sqlite_file() -> None:
    text = manifest()["spec"]["serveConfigV2"].replace("postgresql+psycopg:///greenlight", "sqlite:////var/lib/runs.db")
    found = problems_in_manifest(manifest({"spec/serveConfigV2": text}))
    assert [each.where for each in found] == ["spec.serveConfigV2.applications.0.args.store_url"]


@pytest.mark.parametrize("text", [None, "", "a: [", "- 1", "a: 1\na: 2", {"applications": []}])
def test_a_serve_config_that_is_no_config_is_refused(text: Any) -> None:
    found = problems_in_manifest(manifest({"spec/serveConfigV2": text}))
    assert [each.where for each in found] == ["spec.serveConfigV2"]


def test_a_typo_inside_the_serve_config_is_found_with_its_path() -> None:
    text = manifest()["spec"]["serveConfigV2"].replace("target_ongoing_requests: 1\n", "target_ongoing_request: 1\n")
    found = problems_in_manifest(manifest({"spec/serveConfigV2": text}))
    where = "spec.serveConfigV2.applications.0.deployments.2.autoscaling_config.target_ongoing_request"
    assert [each.where for each in found] == [where]


@pytest.mark.parametrize("spec", [None, 3, {}, {"rayClusterConfig": {}, "serveConfigV2": 3}])
def test_a_manifest_with_parts_missing_is_refused_and_does_not_crash(spec: Any) -> None:
    assert problems_in_manifest({"kind": "RayService", "spec": spec})
