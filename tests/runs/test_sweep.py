"""A sweep's specification: what is refused, and the grid that it stands for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.runs.sweep import SweepSpec, expand, key_of


def spec(**fields: Any) -> SweepSpec:
    return SweepSpec(**{"pipelines": ("bright",), "over": {"seed": (1, 2)}, **fields})


def test_a_grid_is_every_value_with_every_other_and_the_last_axis_varies_fastest() -> None:
    points = expand(spec(over={"prompt": ("a", "b"), "seed": (1, 2)}, inputs={"frames": 3}))
    assert [point.inputs for point in points] == [
        {"frames": 3, "prompt": prompt, "seed": seed} for prompt in "ab" for seed in (1, 2)
    ]


def test_models_are_several_pipelines() -> None:
    points = expand(spec(pipelines=("one", "two")))
    assert [(point.pipeline, point.axes["pipeline"]) for point in points] == [("one",) * 2] * 2 + [("two",) * 2] * 2


def test_a_variant_is_a_named_set_of_inputs() -> None:
    points = expand(spec(variants={"10+scheduler": {"steps": 10, "scheduler": "beta"}, "4": {"steps": 4}}, over={}))
    assert [(point.axes, point.inputs) for point in points] == [
        ({"variant": "10+scheduler"}, {"steps": 10, "scheduler": "beta"}),
        ({"variant": "4"}, {"steps": 4}),
    ]


def test_null_leaves_an_input_out_and_is_a_place_of_its_own() -> None:
    with_it, without = expand(spec(over={"adapter": ("film@0.8", None)}))
    assert (with_it.inputs, without.inputs) == ({"adapter": "film@0.8"}, {})
    assert with_it.run_id("s") != without.run_id("s")


def test_a_cells_run_id_depends_on_the_sweep_and_the_place_alone() -> None:
    first, second = expand(spec())
    assert first.run_id("s") == expand(spec(inputs={"frames": 9}))[0].run_id("s")
    assert len({first.run_id("s"), second.run_id("s"), first.run_id("t")}) == 3
    assert len(first.run_id("x" * 40)) <= 64


def test_a_grid_above_the_cap_is_refused_by_the_caps_name() -> None:
    with pytest.raises(InvalidInput, match="max_cells: the grid has 12 cells, and the cap is 10"):
        expand(spec(over={"a": (1, 2, 3, 4), "b": (1, 2, 3)}, max_cells=10))


def test_a_sweep_that_varies_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="over: "):
        expand(spec(over={}))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"over": {"seed": (1, 1)}}, "over.seed: 1 is listed twice"),
        ({"over": {"seed": ()}}, "over.seed: an axis has at least one value"),
        ({"over": {"pipeline": ("a",)}}, "over.pipeline: say it as `pipelines`"),
        ({"inputs": {"seed": 1}}, "inputs.seed: it is an axis already"),
        ({"variants": {"a": {"seed": 1}}}, "variants.a.seed: it is given elsewhere already"),
        ({"pipelines": ("a", "a")}, "pipelines: a is listed twice"),
        ({"pipelines": ()}, "pipelines"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "2"}, "concurrency"),
        ({"max_cells": 2001}, "max_cells"),
        ({"tolerence": 1.0}, "tolerence"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        spec(**fields)


def test_a_picture_is_known_by_its_bytes() -> None:
    picture = Artifact("ab" * 32, "image/png", 3, "mine.png", {})
    same = Artifact("ab" * 32, "image/png", 3, "yours.png", {})
    assert key_of(picture) == "picture abababababab"
    first, again = (expand(spec(over={"image": (each,)}, pipelines=("a", "b")))[0] for each in (picture, same))
    assert first.run_id("s") == again.run_id("s")
    assert [key_of(value) for value in (None, True, 3, 0.5, ["a@1", "b"])] == ["none", "true", "3", "0.5", "a@1,b"]


def test_an_axis_longer_than_any_grid_is_refused_before_its_values_are_compared() -> None:
    with pytest.raises(ValidationError, match=r"over\.seed: 2001 values are more than the 2000 cells"):
        spec(over={"seed": (1,) * 2001})
