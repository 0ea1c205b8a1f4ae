"""Trigger words in front of a prompt, where they are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.adapt.trigger import Trigger
from serve_app.core.adapter import Adapter, Adapters, missing_triggers
from tests.deployments.desk import DeskContext


def adapter(*triggers: str, strength: float = 1.0) -> Adapter:
    return Adapter("a", "0" * 64, strength, "flux", "peft A/B", "bf16", (4, 4), 1, 1, 10, triggers=triggers)


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


def said(desk: DeskContext, prompt: str, *adapters: Adapter, **params: Any) -> str:
    stage = Trigger()
    stage.load(Trigger.Weights(), desk)
    return stage.run(Trigger.Params(**params), prompt=prompt, adapters=Adapters(adapters))


def test_missing_words_go_in_front_in_the_order_of_the_adapters(desk: DeskContext) -> None:
    prompt = said(desk, "a cat, ohwx", adapter("ohwx", "red fox"), adapter("film grain"))
    assert prompt == "red fox, film grain, a cat, ohwx"
    assert desk.notes["trigger_words"] == ["red fox", "film grain"]


def test_a_word_that_two_want_is_put_there_once(desk: DeskContext) -> None:
    assert said(desk, "a cat", adapter("ohwx"), adapter("ohwx")) == "ohwx, a cat"


def test_a_prompt_that_says_them_stays_as_it_is(desk: DeskContext) -> None:
    assert said(desk, "OHWX in the rain", adapter("ohwx")) == "OHWX in the rain"
    assert desk.notes["trigger_words"] == []


@pytest.mark.parametrize(("mode", "warnings"), [("warn", 1), ("ignore", 0)])
def test_the_prompt_can_be_left_alone(desk: DeskContext, mode: str, warnings: int) -> None:
    assert said(desk, "a cat", adapter("ohwx"), trigger=mode) == "a cat"
    assert len(desk.warnings) == warnings


def test_an_adapter_can_be_content_with_one_of_its_words(desk: DeskContext) -> None:
    assert said(desk, "anna by the sea", adapter("bob", "anna"), words="first") == "anna by the sea"
    assert said(desk, "the sea", adapter("bob", "anna"), words="first") == "bob, the sea"


def test_an_adapter_at_strength_0_wants_nothing(desk: DeskContext) -> None:
    assert said(desk, "a cat", adapter("ohwx", strength=0)) == "a cat"


def test_without_adapters_the_prompt_is_handed_on(desk: DeskContext) -> None:
    stage = Trigger()
    stage.load(Trigger.Weights(), desk)
    assert stage.run(Trigger.Params(), prompt="a cat") == "a cat"


@pytest.mark.parametrize(
    ("word", "prompt", "is_missing"),
    [
        ("art", "a party", True),
        ("art", "Art, of course", False),
        ("<lora>", "a <LORA> b", False),
        ("red fox", "a red  fox", True),
    ],
)
def test_a_word_counts_as_a_word_of_its_own(word: str, prompt: str, is_missing: bool) -> None:
    assert bool(missing_triggers([word], prompt)) == is_missing
