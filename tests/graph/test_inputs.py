"""A request's inputs against what the pipeline declares."""

from typing import Any

import pytest

from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.graph.inputs import MAX_SEED, MAX_TEXT, take_inputs
from serve_app.graph.spec import InputSpec

PICTURE = Artifact("0" * 64, "image/png", 1, "photo.png")
SPECS = {
    "prompt": InputSpec(type="text"),
    "steps": InputSpec(type="integer", default=8, minimum=1, maximum=50, aliases=("num_inference_steps",)),
    "guidance": InputSpec(type="number", default=1.0, minimum=0, aliases=("cfg", "guidance_scale")),
    "loud": InputSpec(type="boolean", default=False),
    "image": InputSpec(type="image", optional=True),
    "seed": InputSpec(type="seed"),
}
GIVEN: dict[str, Any] = {"prompt": "a cat", "seed": 7}


def test_defaults_are_filled_in_and_an_optional_input_is_none() -> None:
    assert take_inputs(SPECS, GIVEN) == {
        "prompt": "a cat",
        "steps": 8,
        "guidance": 1.0,
        "loud": False,
        "image": None,
        "seed": 7,
    }


@pytest.mark.parametrize("name", ["guidance", "cfg", "guidance_scale"])
def test_every_spelling_of_an_input_gives_the_same(name: str) -> None:
    assert take_inputs(SPECS, GIVEN | {name: 3.5})["guidance"] == 3.5


def test_null_means_not_given() -> None:
    assert take_inputs(SPECS, GIVEN | {"steps": None})["steps"] == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", "x" * MAX_TEXT),
        ("steps", 1),
        ("steps", 50),
        ("guidance", 3),
        ("loud", True),
        ("image", PICTURE),
        ("seed", 0),
        ("seed", MAX_SEED),
    ],
)
def test_what_is_within_type_and_range_is_taken_as_it_is(name: str, value: Any) -> None:
    assert take_inputs(SPECS, GIVEN | {name: value})[name] == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"step": 3}, "inputs.step: there is no 'step'; did you mean steps"),
        ({"steps": 3, "num_inference_steps": 3}, "inputs.num_inference_steps: steps is given twice, under two names"),
        ({"prompt": None}, "inputs.prompt: is required (text)"),
        ({"seed": None}, "inputs.seed: a seed is drawn before a run is bound"),
        ({"prompt": "  "}, f"inputs.prompt: is text of 1 to {MAX_TEXT} characters"),
        ({"prompt": "x" * (MAX_TEXT + 1)}, f"inputs.prompt: is text of 1 to {MAX_TEXT} characters"),
        ({"prompt": 3}, f"inputs.prompt: is text of 1 to {MAX_TEXT} characters"),
        ({"steps": True}, "inputs.steps: is a whole number"),
        ({"steps": "8"}, "inputs.steps: is a whole number"),
        ({"steps": 10**400}, "inputs.steps: is a whole number of at most"),
        ({"guidance": 10**400}, "inputs.guidance: is a finite number of at most"),
        ({"steps": 8.0}, "inputs.steps: is a whole number"),
        ({"steps": 0}, "inputs.steps: is from 1 to 50, not 0"),
        ({"num_inference_steps": 51}, "inputs.steps: is from 1 to 50, not 51"),
        ({"guidance": True}, "inputs.guidance: is a finite number"),
        ({"guidance": "3"}, "inputs.guidance: is a finite number"),
        ({"guidance": float("nan")}, "inputs.guidance: is a finite number"),
        ({"guidance": float("inf")}, "inputs.guidance: is a finite number"),
        ({"cfg": -1}, "inputs.guidance: is from 0 to inf, not -1"),
        ({"loud": 1}, "inputs.loud: is true or false"),
        ({"loud": "true"}, "inputs.loud: is true or false"),
        ({"image": b"png"}, "inputs.image: is a picture"),
        ({"seed": True}, f"inputs.seed: is a whole number from 0 to {MAX_SEED}"),
        ({"seed": -1}, f"inputs.seed: is a whole number from 0 to {MAX_SEED}"),
        ({"seed": MAX_SEED + 1}, f"inputs.seed: is a whole number from 0 to {MAX_SEED}"),
        ({"seed": 1.5}, f"inputs.seed: is a whole number from 0 to {MAX_SEED}"),
    ],
)
def test_what_is_not_is_refused_and_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        take_inputs(SPECS, GIVEN | given)
    assert str(caught.value).startswith(message)
