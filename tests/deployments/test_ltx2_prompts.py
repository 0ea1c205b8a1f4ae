"""Prompts: encoded once, cut with a warning, and the same clip whether they were at hand or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.nets.ltx2_prompts import HeldPrompt, PromptCache
from serve_app.core.errors import InvalidInput
from tests.deployments.loaded_ltx2 import PROMPT, LoadedLtx2, RawLtx2, batches, load

_LONG = "snow " * 60


def test_a_prompt_is_encoded_once(ltx2: LoadedLtx2) -> None:
    first = ltx2.make(prompt="a prompt of its own")
    with batches(ltx2.part.text_encoder) as seen:
        again = ltx2.make(prompt="a prompt of its own")
    assert seen == []
    assert np.array_equal(first.frames, again.frames)


def test_frames_are_the_same_with_and_without_the_cache(ltx2: LoadedLtx2, tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    uncached = load(tiny_ltx2_dir, tmp_path, prompt_cache_entries=0)
    with batches(uncached.part.text_encoder) as seen:
        clips = [uncached.make(guidance=3.0), uncached.make(guidance=3.0)]
    assert seen == [1, 1, 1, 1]
    ltx2.make(guidance=3.0)
    clips.append(ltx2.make(guidance=3.0))
    assert all(np.array_equal(clip.frames, clips[0].frames) for clip in clips)


def test_the_cache_forgets_what_was_used_longest_ago(ltx2: LoadedLtx2) -> None:
    cache = PromptCache(ltx2.part, entries=2)
    at_hand = [cache.get(text, 128)[1] for text in ("a", "b", "a", "c", "a", "b")]
    assert at_hand == [False, False, True, False, True, False]


def test_the_token_limit_is_part_of_what_is_remembered(ltx2: LoadedLtx2) -> None:
    cache = PromptCache(ltx2.part, entries=2)
    assert cache.get(PROMPT, 128)[0].video.shape[1] == 128
    assert cache.get(PROMPT, 256)[0].video.shape[1] == 256


def test_what_is_kept_is_small_and_on_the_cpu(ltx2: LoadedLtx2) -> None:
    kept, _ = PromptCache(ltx2.part, entries=1).get(PROMPT, 1024)
    assert kept.video.shape == (1, 1024, 64)
    assert {tensor.device.type for tensor in (kept.video, kept.audio, kept.mask)} == {"cpu"}


def test_a_tail_beyond_the_limit_is_warned_of_also_from_the_cache(ltx2: LoadedLtx2) -> None:
    for _ in range(2):
        ltx2.clear()
        ltx2.make(prompt=_LONG, steps=8, max_prompt_tokens=128)
        tokens = len(ltx2.part.tokenizer(_LONG.strip())["input_ids"])
        dropped = f"the last {tokens - 128} tokens of prompt are beyond the limit of 128: dropped"
        assert ltx2.desk.warnings == [dropped]


def test_a_negative_prompts_tail_is_warned_of_too(ltx2: LoadedLtx2) -> None:
    ltx2.make(negative_prompt=_LONG, guidance=3.0, max_prompt_tokens=128)
    assert any("tokens of negative_prompt are beyond the limit" in warning for warning in ltx2.desk.warnings)


def test_diffusers_drops_the_tail_without_a_word(raw_ltx2: RawLtx2, caplog: pytest.LogCaptureFixture) -> None:
    with raw_ltx2.static():
        one, other = (
            raw_ltx2.call(prompt=_LONG + tail, max_sequence_length=128).frames for tail in ("a fox", "two owls")
        )
    assert np.array_equal(one, other)
    assert caplog.records == []


def test_a_limit_off_the_registers_is_refused_where_diffusers_fails_in_the_encoder(
    ltx2: LoadedLtx2, raw_ltx2: RawLtx2
) -> None:
    with pytest.raises(InvalidInput, match="max_prompt_tokens: 200 is not a multiple of 128"):
        ltx2.make(max_prompt_tokens=200)
    with raw_ltx2.static(), pytest.raises(ValueError, match="divisible by the number of learnable registers"):
        raw_ltx2.call(max_sequence_length=200)


@pytest.mark.parametrize("prompt", ["", "  ", "雪の中の狐 🦊"])
def test_any_text_is_a_prompt(ltx2: LoadedLtx2, prompt: str) -> None:
    assert ltx2.make(prompt=prompt).shape.frames == 9


def test_held_prompts_answer_for_their_batch_alone() -> None:
    with pytest.raises(ValueError, match="wants 1 prompts and 0 are held"):
        HeldPrompt()(torch.zeros(1, 1, 1), torch.ones(1, 1), "left")


def test_no_prompt_is_held_after_a_run(ltx2: LoadedLtx2) -> None:
    ltx2.make()
    assert ltx2.stage._pipelines.prompt._prompts == ()
