"""Prompts read with T5: encoded once, counted whole, kept as many as asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import LTXPipeline

from deployments.nets.t5_prompts import T5Prompts
from tests.deployments.loaded_ltx2 import batches
from tests.deployments.tiny_ltx_video import build


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return LTXPipeline.from_pretrained(build(tmp_path_factory.mktemp("tiny")), local_files_only=True)


def test_a_prompt_is_what_the_pipeline_makes_of_it(pipeline: Any) -> None:
    one = T5Prompts(pipeline, 4).get("a fox", 32)
    with torch.no_grad():
        states, mask, _, _ = pipeline.encode_prompt("a fox", do_classifier_free_guidance=False, max_sequence_length=32)
    assert one.mask is not None
    assert torch.equal(one.states, states)
    assert torch.equal(one.mask, mask)
    assert one.tokens == int(mask.sum()) == 7


@pytest.mark.parametrize(("entries", "encoded"), [(0, 4), (1, 4), (2, 2)])
def test_as_many_are_kept_as_asked(pipeline: Any, entries: int, encoded: int) -> None:
    prompts = T5Prompts(pipeline, entries)
    with batches(pipeline.text_encoder) as seen:
        for text in ("a fox", "a cat", "a fox", "a cat"):
            prompts.get(text, 32)
    assert len(seen) == encoded


def test_a_limit_makes_it_another_prompt(pipeline: Any) -> None:
    prompts = T5Prompts(pipeline, 4)
    assert [prompts.get("a fox", limit).states.shape[1] for limit in (32, 16, 32)] == [32, 16, 32]


def test_tokens_are_counted_after_cleaning(pipeline: Any) -> None:
    assert T5Prompts(pipeline, 4, str.strip).get("a fox" + " " * 60, 32).tokens == 7
