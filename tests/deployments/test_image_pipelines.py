"""The shipped pipelines for pictures: both spellings are one request, and a tiny model goes all the way to a file."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from serve_app.artifacts.local import LocalArtifacts
from serve_app.config import AppConfig, plan_alone, plans_of
from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.score import Score
from serve_app.graph.callers import InProcess
from serve_app.graph.host import Place
from serve_app.graph.plan import Step
from serve_app.graph.record import Called, Resources
from serve_app.graph.run import Outcome, Rules, walk
from serve_app.graph.spec import find_pipeline
from tests.deployments import tiny_flux, tiny_qwen_image, tiny_z_image

BUILD: dict[str, Callable[[Path], Path]] = {
    "flux": tiny_flux.build,
    "qwen_image": tiny_qwen_image.build,
    "z_image": tiny_z_image.build,
}
PIPELINES = {"flux-image": "flux", "qwen-image": "qwen_image", "z-image": "z_image"}
GIVEN: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "width": 50, "height": 40, "on_fail": "warn"}
OURS = {"steps": 2, "guidance": 3.5}
THEIRS = ({"num_inference_steps": 2, "guidance_scale": 3.5}, {"num_inference_steps": 2, "cfg": 3.5})


class Silence:
    """A watcher that hears nothing."""

    def step_started(self, step: Step) -> None: ...
    def step_progressed(self, step: Step, done: int, of: int) -> None: ...
    def step_finished(self, step: Step, called: Called) -> None: ...
    def step_retried(self, step: Step, error: Exception) -> None: ...
    def step_rejected(self, step: Step, error: Exception) -> None: ...


def run(root: Path, pipeline: str, inputs: dict[str, Any]) -> Outcome:
    """Carry out ``pipeline`` in this process with tiny weights."""
    family = PIPELINES[pipeline]
    weights = root / "weights"
    if not weights.exists():
        BUILD[family](weights)
    config = AppConfig.model_validate(
        {"pipelines": [pipeline], "stages": {f"generate.{family}": {"weights": {"model": str(weights)}}}}
    )
    (root / "scratch").mkdir(exist_ok=True)
    place = Place("cpu", 1, Resources(), LocalArtifacts(root / "artifacts"), root / "scratch")
    bound = plans_of(config)[pipeline].bind(inputs)
    return asyncio.run(walk(bound, InProcess(lambda _: place), Silence(), Rules()))


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("spelling", THEIRS)
def test_every_spelling_binds_to_the_same_request(pipeline: str, spelling: dict[str, Any]) -> None:
    plan = plan_alone(find_pipeline(pipeline))
    ours, theirs = plan.bind({**GIVEN, **OURS}), plan.bind({**GIVEN, **spelling})
    assert theirs.params == ours.params
    assert theirs.inputs == ours.inputs


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_an_unknown_key_and_a_value_given_twice_are_refused(pipeline: str) -> None:
    plan = plan_alone(find_pipeline(pipeline))
    for extra, field in ({"cfg_scale": 3}, "inputs.cfg_scale"), ({"cfg": 3, "guidance": 3}, "inputs.guidance"):
        with pytest.raises(InvalidInput) as caught:
            plan.bind({**GIVEN, **extra})
        assert caught.value.field == field


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_request_of_words_alone_will_do(pipeline: str) -> None:
    plan_alone(find_pipeline(pipeline)).bind({"prompt": "a red fox", "seed": 7})


@pytest.mark.parametrize(
    ("pipeline", "inputs", "field"),
    [
        ("flux-image", {"true_cfg_scale": 4}, "inputs.true_cfg_scale"),
        ("qwen-image", {"guidance": 0.5}, "inputs.guidance"),
        ("z-image", {"cfg": 0.5}, "inputs.guidance"),
        ("z-image", {"preset": "fast"}, "inputs.preset"),
        ("flux-image", {"format": "gif"}, "inputs.format"),
    ],
)
def test_a_bad_value_is_the_inputs_fault_before_anything_is_loaded(
    pipeline: str, inputs: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan_alone(find_pipeline(pipeline)).bind({**GIVEN, **inputs})
    assert caught.value.field == field


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_both_spellings_give_identical_bytes_of_the_size_asked_for(tmp_path: Path, pipeline: str) -> None:
    outcomes = [run(tmp_path, pipeline, {**GIVEN, **spelling}) for spelling in (OURS, THEIRS[0])]
    files = [outcome.done["encode"].value for outcome in outcomes]
    assert all(isinstance(file, Artifact) for file in files)
    assert files[0].digest == files[1].digest
    assert (files[0].media_type, files[0].facts["width"], files[0].facts["height"]) == ("image/png", 50, 40)
    assert isinstance(outcomes[0].done["judge"].value, Score)
    with PillowImage.open(
        io.BytesIO((LocalArtifacts(tmp_path / "artifacts").path_of(files[0].digest)).read_bytes())
    ) as picture:
        embedded = json.loads(picture.text["parameters"])  # type: ignore[attr-defined]
    known = {"prompt": "a red fox", "seed": 7, "model": "weights", "steps": 2, "guidance": 3.5}
    assert embedded.items() >= {**known, "stage": f"generate.{PIPELINES[pipeline]}"}.items()
    assert embedded["params"]["height"] == 40


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_report_echoes_what_was_in_effect(tmp_path: Path, pipeline: str) -> None:
    outcome = run(tmp_path, pipeline, {**GIVEN, **OURS})
    record = outcome.done["draft"].record
    facts = record.notes[PIPELINES[pipeline]]
    assert (record.params["steps"], record.params["guidance"]) == (2, 3.5)
    assert (facts["steps"], facts["size"], facts["native_size"]) == (2, "50x40", "64x48")


MEASURED = {
    "flux-image": "natural makeup, professional photography, sharp details",
    "qwen-image": "natural makeup, professional photography, sharp details, 8k",
    "z-image": "natural makeup, professional photography, sharp details, 8k",
}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_subject_adds_the_familys_measured_words_and_the_original_stays_in_the_report(
    tmp_path: Path, pipeline: str
) -> None:
    outcome = run(tmp_path, pipeline, {**GIVEN, **OURS, "subject": "portrait"})
    words = outcome.done["words"]
    assert words.value == f"a red fox, {MEASURED[pipeline]}"
    assert words.record.notes["prompt_template"]["original"] == "a red fox"


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_without_a_subject_the_prompt_is_the_callers_own(pipeline: str) -> None:
    plan = plan_alone(find_pipeline(pipeline))
    step = next(step for step in plan.steps if step.node == "words")
    assert plan.bind(GIVEN).params[step.node].model_dump()["subject"] == "none"


def test_an_unknown_subject_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        plan_alone(find_pipeline("z-image")).bind({**GIVEN, "subject": "landscape"})
    assert caught.value.field == "inputs.subject"
