"""What Serve would ignore or find out too late is refused by name."""

from pathlib import Path
from typing import Any

import pytest
from ray.serve.schema import ServeDeploySchema

from serve_app.graph.spec import read_yaml
from serve_app.serving.strict import problems_in
from tests.serving.documents import PROFILES, profile

APP = "applications/0"
FIRST = f"{APP}/deployments/2"
"""The generator."""
AT = "applications.0.deployments.2"


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_shipped_profile_has_no_problem(path: Path) -> None:
    assert [str(finding) for finding in problems_in(read_yaml(path))] == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"http_option": {}}, "http_option: there is no 'http_option'; did you mean http_options"),
        ({"http_options/prot": 1}, "http_options.prot: there is no 'prot'; did you mean port"),
        ({f"{FIRST}/max_ongoing_request": 2}, f"{AT}.max_ongoing_request: there is no 'max_ongoing_request'; did you"),
        ({f"{FIRST}/ray_actor_options/num_gpu": 1}, f"{AT}.ray_actor_options.num_gpu: there is no 'num_gpu'; did you"),
        (
            {f"{FIRST}/autoscaling_config/min_replica": 1},
            f"{AT}.autoscaling_config.min_replica: there is no 'min_replica'; did you mean min_replicas",
        ),
        (
            {f"{FIRST}/request_router_config": {"initial_backoff": 1}},
            f"{AT}.request_router_config.initial_backoff: there is no 'initial_backoff'; did you mean initial",
        ),
        ({f"{APP}/runtime_env": {"env_var": {}}}, "applications.0.runtime_env.env_var: there is no 'env_var'; did you"),
    ],
)
def test_a_key_that_serve_would_ignore_is_refused_with_the_nearest(changes: dict[str, Any], finding: str) -> None:
    document = profile("gpu", changes)
    ServeDeploySchema.model_validate(profile("gpu", changes))  # Serve itself says nothing
    assert any(str(found).startswith(finding) for found in problems_in(document)), problems_in(document)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({f"{FIRST}/max_ongoing_requests": 0}, f"{AT}.max_ongoing_requests: Input should be greater than 0"),
        ({f"{FIRST}/num_replicas": 2}, f"{AT}: Manually setting num_replicas is not allowed when autoscaling_config"),
        (
            {f"{FIRST}/autoscaling_config/max_replicas": "many"},
            f"{AT}.autoscaling_config.max_replicas: Input should be",
        ),
        ({f"{FIRST}/autoscaling_config/min_replicas": 9}, f"{AT}.autoscaling_config: max_replicas (4) must be greater"),
        ({"proxy_location": "Nowhere"}, "proxy_location: Input should be 'Disabled', 'HeadOnly' or 'EveryNode'"),
        ({"logging_config/encodin": "JSON"}, "logging_config.encodin: there is no 'encodin'; did you mean encoding"),
    ],
)
def test_a_bad_value_is_refused(changes: dict[str, Any], finding: str) -> None:
    found = problems_in(profile("gpu", changes))
    assert any(str(each).startswith(finding) for each in found), found


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({f"{APP}/args/pipeline": []}, "applications.0.args.pipeline: there is no 'pipeline'; did you mean pipelines"),
        ({f"{APP}/args/queue/slot": 1}, "applications.0.args.queue.slot: there is no 'slot'; did you mean slots"),
        (
            {f"{APP}/args/stages/upscale.edsr/weight": {}},
            "applications.0.args.stages.upscale.edsr.weight: there is no 'weight'; did you mean weights",
        ),
        ({f"{APP}/args/queue/slots": 0}, "applications.0.args.queue.slots: Input should be greater than or equal to 1"),
        (
            {f"{APP}/args/stages/upscale.edsr/weights/dtype": "int3"},
            "applications.0.args: stages.upscale.edsr.weights.dtype: Input should be 'auto', 'bf16', 'fp16' or 'fp32'",
        ),
        ({f"{APP}/args/pipelines": ["nope"]}, "applications.0.args: pipelines: there is no 'nope'"),
        ({f"{APP}/args/store_url": "nonsense"}, "applications.0.args.store_url: it is not a database URL"),
        ({f"{APP}/args/store_url": "mysql://a/b"}, "applications.0.args.store_url: the run store is sqlite:///FILE or"),
        ({f"{APP}/import_path": "serve_app.app:biuld"}, "applications: none has import_path serve_app.app:build"),
    ],
)
def test_a_mistake_in_args_is_refused(changes: dict[str, Any], finding: str) -> None:
    found = problems_in(profile("gpu", changes))
    assert any(str(each).startswith(finding) for each in found), found


def test_a_deployment_that_the_application_does_not_create_is_refused() -> None:
    found = problems_in(profile("demo", {f"{FIRST}/name": "generate.animatc"}))
    assert str(found[0]).startswith(f"{AT}.name: there is no 'generate.animatc'; did you mean generate.animatic")


def test_a_deployment_without_an_entry_is_named() -> None:
    found = problems_in(profile("demo", {f"{APP}/deployments/1": None}))
    assert [str(each) for each in found] == [
        "applications.0.deployments: runner has no entry, and would get Serve's defaults"
    ]


def test_a_deployment_given_twice_is_refused() -> None:
    entry = {"name": "runner"}
    found = problems_in(profile("demo", {f"{APP}/deployments/8": entry}))
    assert [str(each) for each in found] == ["applications.0.deployments.8.name: runner is given twice"]


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({f"{FIRST}/ray_actor_options/num_gpus": 0.5}, "at 0.5, Ray may put two generators on one GPU"),
        ({f"{FIRST}/ray_actor_options/num_gpus": 1.5}, "1.5 is more than one GPU and no whole number of them"),
        ({f"{FIRST}/max_ongoing_requests": 1}, "1 leaves the GPU idle between two calls"),
        ({f"{FIRST}/graceful_shutdown_timeout_s": None}, "graceful_shutdown_timeout_s is not set, and Serve kills"),
    ],
)
def test_what_would_waste_a_gpu_or_a_render_is_refused(changes: dict[str, Any], finding: str) -> None:
    found = problems_in(profile("gpu", changes))
    assert [each.where.startswith(AT) and finding in each.message for each in found] == [True]


@pytest.mark.parametrize(
    "document",
    [None, [], "text", {}, {"applications": None}, {"applications": [3]}, {"applications": [{"deployments": [3]}]}],
)
def test_what_is_no_profile_at_all_is_refused_and_does_not_crash(document: Any) -> None:
    assert problems_in(document)


def test_the_demo_fits_two_cores() -> None:
    options = [entry["ray_actor_options"] for entry in profile("demo")["applications"][0]["deployments"]]
    assert sum(option["num_cpus"] for option in options) <= 2
    assert not any("num_gpus" in option for option in options)


def test_the_demo_speaks_to_this_machine_alone() -> None:
    assert profile("demo")["http_options"]["host"] == "127.0.0.1"


def test_the_gpu_profiles_shares_fit_one_gpu() -> None:
    options = [entry["ray_actor_options"] for entry in profile("gpu")["applications"][0]["deployments"]]
    assert sum(option.get("num_gpus", 0) for option in options) <= 1
