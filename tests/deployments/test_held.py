"""How weights are held, as a profile says it: what would have no effect or the wrong one is refused without torch."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

import deployments
from deployments.generate.ltx2 import Ltx2
from deployments.generate.mochi import Mochi
from deployments.nets.held import Held, Options

HELD = ("flux", "ltx2", "ltx_video", "mochi", "qwen_image", "wan", "z_image")


@pytest.mark.parametrize("family", HELD)
def test_every_family_offers_the_same_options(family: str) -> None:
    weights: Any = deployments.locate(f"generate.{family}").Weights  # type: ignore[attr-defined]
    assert issubclass(weights, Held)
    assert list(weights.model_fields)[:3] == ["model", "revision", "dtype"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"group_blocks": 2}, "group_blocks"),
        ({"group_stream": True, "offload": "model"}, "group_stream"),
        ({"group_stream": True, "group_blocks": 2, "offload": "group"}, "group_blocks"),
        ({"warm_up": ("64x64",)}, "warm_up"),
        ({"compile": "blocks", "warm_up": ("64 by 64",)}, "warm_up"),
        ({"compile": "blocks", "storage": "fp8"}, "compile"),
        ({"compile": "blocks", "offload": "group"}, "compile"),
        ({"attention": "Flash!"}, "attention"),
        ({"storage": "fp4"}, "storage"),
    ],
)
def test_options_that_cannot_go_together_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Mochi.Weights(model="x", **options)


@pytest.mark.parametrize(
    ("adapters", "options"),
    [
        ("unfused", {"compile": "blocks"}),
        ("auto", {"compile": "blocks"}),
        ("baked", {"storage": "fp8"}),
        ("baked", {"offload": "group", "group_stream": True}),
        ("auto", {"offload": "group", "group_stream": True}),
    ],
)
def test_adapters_that_would_do_nothing_or_be_lost_are_refused(adapters: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"adapters: {adapters}"):
        Ltx2.Weights(**{"model": "x", "adapters": adapters, **options})


def test_adapters_that_work_with_an_option_are_accepted() -> None:
    for adapters, options in {"baked": {"compile": "blocks"}, "unfused": {"storage": "fp8"}}.items():
        assert Ltx2.Weights(**{"model": "x", "adapters": adapters, **options})


def test_facts_are_json_values_of_what_is_in_effect() -> None:
    plain = {"storage": "none", "offload": "none", "vae_tiling": False, "compile": "none", "attention": "auto"}
    assert Options().facts == plain
    grouped = Options(offload="group", group_blocks=4).facts
    assert grouped == {**plain, "offload": "group", "group_blocks": 4, "group_stream": False}
    compiled = Options(compile="blocks", warm_up=("1280x720x97",)).facts
    assert compiled == {**plain, "compile": "blocks", "warm_up": ["1280x720x97"]}
