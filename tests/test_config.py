"""The configuration, and what follows from it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from serve_app.config import AppConfig, deployments_of, pipelines_of, plan_alone, plans_of
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.graph.spec import find_pipeline, shipped

DEMO = "animatic-fidelity"
OWN = """
version: 1
name: own
inputs: {prompt: text, image: image, seed: seed}
nodes:
  draft: {use: quick, take: {prompt: $prompt, image: $image, seed: $seed}}
  file: {use: encode.video, take: {clip: draft}}
outputs: {video: file}
"""


def config(changes: dict[str, Any] | None = None) -> AppConfig:
    return AppConfig.model_validate({"pipelines": [DEMO], **(changes or {})})


@pytest.fixture
def own(tmp_path: Path) -> str:
    file = tmp_path / "own.yaml"
    file.write_text(OWN)
    return str(file)


def models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return ``model`` and every model inside it."""
    inner = [info.annotation for info in model.model_fields.values()]
    found = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [model, *(each for kind in found for each in models(kind))]


@pytest.mark.parametrize("model", models(AppConfig), ids=lambda model: model.__name__)
def test_an_unknown_key_is_an_error_everywhere(model: type[BaseModel]) -> None:
    assert model.model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"pipelines": []}, "pipelines"),
        ({"pipeline": [DEMO]}, "pipeline"),
        ({"limits": {"queued_runs": 0}}, "limits.queued_runs"),
        ({"limits": {"upload_bytes": 3}}, "limits.upload_bytes"),
        ({"queue": {"slots": 0}}, "queue.slots"),
        ({"queue": {"lease_s": 0}}, "queue.lease_s"),
        ({"queue": {"step_retries": -1}}, "queue.step_retries"),
        ({"stages": {"upscale.edsr": {"weight": {}}}}, "stages.upscale.edsr.weight"),
        ({"stages": {"runner": {}}}, "stages"),
        ({"stages": {"a#b": {}}}, "stages"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_path(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(changes)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == where


def test_everything_lives_in_one_directory_unless_told_otherwise(tmp_path: Path) -> None:
    one = config({"directory": str(tmp_path)})
    assert one.run_store_url == f"sqlite:///{tmp_path}/runs.db"
    assert (one.artifacts_path, one.scratch_path) == (tmp_path / "artifacts", tmp_path / "scratch")


def test_temporary_files_are_on_the_artifacts_disk(tmp_path: Path) -> None:
    elsewhere = config({"artifacts_directory": str(tmp_path)})
    assert (elsewhere.artifacts_path, elsewhere.scratch_path) == (tmp_path, tmp_path / "scratch")


def test_a_stage_in_use_that_is_not_listed_gets_its_defaults() -> None:
    deployment = deployments_of(config())["upscale.edsr"]
    assert deployment.weights == type(deployment.weights)()


def test_listed_weights_reach_their_deployment() -> None:
    found = deployments_of(config({"stages": {"upscale.edsr": {"weights": {"dtype": "fp32"}}}}))
    assert found["upscale.edsr"].weights.model_dump()["dtype"] == "fp32"


def test_a_deployment_may_have_a_name_of_its_own(own: str) -> None:
    found = deployments_of(config({"pipelines": [own], "stages": {"quick": {"stage": "generate.animatic"}}}))
    assert found["quick"].contract.name == "generate.animatic"


def test_every_pipeline_is_compiled_under_its_own_name(own: str) -> None:
    plans = plans_of(config({"pipelines": [DEMO, own], "stages": {"quick": {"stage": "generate.animatic"}}}))
    assert list(plans) == [DEMO, "own"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pipelines": [DEMO, DEMO]}, "pipelines: two pipelines are called animatic-fidelity"),
        ({"pipelines": ["animatic-fidelty"]}, "pipelines: there is no 'animatic-fidelty'; did you mean animatic"),
        ({"stages": {"upscale.esdr": {}}}, "stages.upscale.esdr: no pipeline uses it"),
        ({"stages": {"upscale.edsr": {"weights": {"dtyp": "fp32"}}}}, "stages.upscale.edsr.weights.dtyp: Extra"),
        ({"stages": {"upscale.edsr": {"stage": "upscale.esdr"}}}, "stages.upscale.edsr.stage: there is no 'upscale.es"),
    ],
)
def test_a_mistake_is_refused_and_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        plans_of(config(changes))
    assert str(caught.value).startswith(message)


def test_a_stage_that_does_not_exist_is_named_with_its_node(own: str) -> None:
    with pytest.raises(Misconfigured, match=r"^pipeline own nodes\.draft\.use: there is no 'quick'"):
        deployments_of(config({"pipelines": [own]}))


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_pipeline_compiles_on_its_own(name: str) -> None:
    assert plan_alone(find_pipeline(name)).name == name


def test_a_pipeline_that_is_called_something_else_than_its_file_is_served_under_its_own_name(own: str) -> None:
    found = pipelines_of(config({"pipelines": [own]}))
    assert list(found) == ["own"]


@pytest.mark.parametrize("model", [each for each in models(AppConfig) if each.__module__ == "serve_app.config"])
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert not [name for name, info in model.model_fields.items() if not info.description]


def test_a_picture_larger_than_any_request_is_refused_as_a_limit() -> None:
    with pytest.raises(ValidationError, match="body_bytes is 4096"):
        AppConfig.model_validate({"pipelines": ["animatic-fidelity"], "limits": {"body_bytes": 4096}})


def test_a_photo_that_is_to_replace_a_frame_must_be_there_before_anything_is_spent() -> None:
    plan = plan_alone(find_pipeline("ltx2-fidelity-1080p"))
    plan.bind({"prompt": "a fox", "seed": 1})
    with pytest.raises(InvalidInput, match=r"inputs\.image: is needed by the params of final_gate"):
        plan.bind({"prompt": "a fox", "seed": 1, "replace_first_frame": True})
