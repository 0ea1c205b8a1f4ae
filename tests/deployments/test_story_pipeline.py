"""The shipped pipeline in which a text model writes before a picture is painted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve_app.artifacts.local import LocalArtifacts
from serve_app.config import AppConfig, plan_alone, plans_of
from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.graph.callers import InProcess
from serve_app.graph.host import Place
from serve_app.graph.record import Resources
from serve_app.graph.run import Outcome, Rules, walk
from serve_app.graph.spec import find_pipeline
from tests.deployments import tiny_flux, tiny_writer
from tests.deployments.test_image_pipelines import Silence

STORY = "story-image"
GIVEN: dict[str, Any] = {"prompt": "a fox in snow", "seed": 7, "words": 40, "width": 48, "height": 32, "steps": 1}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    root = tmp_path_factory.mktemp("story")
    stages = {"adapt.prompt": tiny_writer.save(root / "writer"), "generate.flux": tiny_flux.build(root / "flux")}
    config = AppConfig.model_validate(
        {"pipelines": [STORY], "stages": {name: {"weights": {"model": str(path)}} for name, path in stages.items()}}
    )
    place = Place("cpu", 1, Resources(), LocalArtifacts(root / "artifacts"), root / "scratch")
    bound = plans_of(config)[STORY].bind({**GIVEN, "otherwise": "original", "on_fail": "warn"})
    return asyncio.run(walk(bound, InProcess(lambda _: place), Silence(), Rules()))


def test_the_text_that_was_written_is_painted_and_the_original_is_in_the_report(outcome: Outcome) -> None:
    scene = outcome.done["scene"]
    noted = scene.record.notes["prompt_written"]
    assert (noted["original"], noted["prompt"]) == ("a fox in snow", scene.value)
    picture = outcome.done["encode"].value
    assert isinstance(picture, Artifact)
    assert (picture.facts["width"], picture.facts["height"]) == (48, 32)


def test_it_is_a_moment_of_choice_of_800_by_400_unless_told_otherwise() -> None:
    plan = plan_alone(find_pipeline(STORY))
    bound = plan.bind({"prompt": "a knight at a fork in the road", "seed": 1})
    scene, draft = bound.params["scene"].model_dump(), bound.params["draft"].model_dump()
    assert (scene["kind"], scene["words"], draft["width"], draft["height"]) == ("story", 100, 800, 400)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        plan_alone(find_pipeline(STORY)).bind({**GIVEN, "kind": "poem"})
    assert caught.value.field == "inputs.kind"
