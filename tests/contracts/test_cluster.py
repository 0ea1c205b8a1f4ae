"""cluster.yaml is the gpu profile on Kubernetes, and both mean what they say."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve_app.config import AppConfig
from serve_app.serving.crd import crd_problems
from serve_app.serving.manifest import problems_in_manifest, serve_config_in
from serve_app.serving.pods import groups_of
from tests.serving.documents import CLUSTER, CRD, ROOT, manifest, profile

GPU = "spec/rayClusterConfig/workerGroupSpecs/1"

needs_crd = pytest.mark.skipif(not CRD.exists(), reason=f"KubeRay's RayService CRD is not at {CRD}")


def test_it_carries_the_gpu_profile_word_for_word() -> None:
    assert serve_config_in(manifest()) == profile("gpu")
    assert (ROOT / "serve_app" / "profiles" / "gpu.yaml").read_text() == manifest()["spec"]["serveConfigV2"]


def test_serve_and_greenlight_can_read_it() -> None:
    config = serve_config_in(manifest())
    assert isinstance(config, dict)
    application = ServeDeploySchema.model_validate(config).applications[0]
    assert AppConfig.model_validate(application.args).pipelines == ("ltx2-fidelity-1080p", "ltx2-lora-1080p")


@needs_crd
def test_kuberays_own_schema_takes_it() -> None:
    assert [str(finding) for finding in crd_problems(manifest(), CRD)] == []


SEEDED: list[tuple[dict[str, Any], str]] = [
    ({"spec/serveConfigv2": "typo"}, "spec"),
    ({f"{GPU}/minReplica": 1}, "spec.rayClusterConfig.workerGroupSpecs.1"),
    ({f"{GPU}/rayStartParams/num-cpus": 12}, "spec.rayClusterConfig.workerGroupSpecs.1.rayStartParams.num-cpus"),
    ({f"{GPU}/maxReplicas": "four"}, "spec.rayClusterConfig.workerGroupSpecs.1.maxReplicas"),
    (
        {f"{GPU}/template/spec/containers/0/volumeMount": []},
        "spec.rayClusterConfig.workerGroupSpecs.1.template.spec.containers.0",
    ),
]


@needs_crd
@pytest.mark.parametrize(("changes", "where"), SEEDED, ids=[where for _, where in SEEDED])
def test_kuberays_own_schema_catches_a_seeded_error(changes: dict[str, Any], where: str) -> None:
    assert where in [finding.where for finding in crd_problems(manifest(changes), CRD)]


def test_no_password_stands_in_it() -> None:
    assert not re.search(r"password:\s*\S|://[^/\s]*:[^/\s]*@", CLUSTER.read_text())


def test_shared_memory_holds_the_store_and_the_store_holds_eight_clips() -> None:
    needed = (97 * 720 * 1280 * 3 + 97 * 1080 * 1920 * 3) * 8 * 1.5
    for group in groups_of(manifest()["spec"]["rayClusterConfig"])[1:]:
        store_bytes = int(group.spec["rayStartParams"]["object-store-memory"])
        memory = next(volume["emptyDir"] for volume in group.pod["volumes"] if "emptyDir" in volume)
        assert memory["medium"] == "Memory"
        assert needed <= store_bytes < int(memory["sizeLimit"].removesuffix("Gi")) << 30


def test_every_replica_finds_a_node_that_is_large_enough() -> None:
    groups = groups_of(manifest()["spec"]["rayClusterConfig"])[1:]
    for entry in profile("gpu")["applications"][0]["deployments"]:
        options = entry["ray_actor_options"]
        fits = [
            group.name
            for group in groups
            if float(group.limits["cpu"]) >= options["num_cpus"]
            and float(group.limits.get("nvidia.com/gpu", 0)) >= options.get("num_gpus", 0)
        ]
        assert fits, entry["name"]


def test_a_gpu_node_holds_a_generator_and_an_upscaler() -> None:
    group = groups_of(manifest()["spec"]["rayClusterConfig"])[2]
    entries = profile("gpu")["applications"][0]["deployments"]
    options = [entry["ray_actor_options"] for entry in entries if "num_gpus" in entry["ray_actor_options"]]
    assert sum(option["num_cpus"] for option in options) <= float(group.limits["cpu"])
    assert sum(option["num_gpus"] for option in options) <= float(group.limits["nvidia.com/gpu"])


def test_claims_and_images_are_the_ones_that_its_head_comment_names() -> None:
    text = CLUSTER.read_text()
    comment = text[: text.index("apiVersion")]
    document = yaml.safe_load(text)
    for group in groups_of(document["spec"]["rayClusterConfig"]):
        assert group.containers[0]["image"] in comment
        for volume in group.pod.get("volumes", []):
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "") in comment


def test_every_pod_that_runs_replicas_can_reach_the_run_store_and_the_artifacts() -> None:
    for group in groups_of(manifest()["spec"]["rayClusterConfig"])[1:]:
        container = group.containers[0]
        assert {"secretRef": {"name": "greenlight-postgres"}} in container["envFrom"]
        assert "/var/lib/greenlight" in [mount["mountPath"] for mount in container["volumeMounts"]]
        assert profile("gpu")["applications"][0]["args"]["directory"] == "/var/lib/greenlight"


def test_the_manifest_as_a_whole_has_no_problem() -> None:
    assert [str(finding) for finding in problems_in_manifest(manifest())] == []


def test_the_dockerfile_makes_the_image_of_the_manifest() -> None:
    dockerfile = (Path(ROOT) / "Dockerfile").read_text()
    image = manifest()["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert f"docker build -t {image} ." in dockerfile
