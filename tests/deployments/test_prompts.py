"""Counting what an encoder reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.nets.prompts import count_tokens, warn_of_dropped
from tests.deployments.desk import DeskContext
from tests.deployments.tiny_qwen_text import tokenizer


def test_tokens_are_counted_beyond_the_tokenizers_own_limit() -> None:
    assert count_tokens(tokenizer(), "a" * 5000) == 5000


@pytest.mark.parametrize(("tokens", "dropped"), [(0, 0), (77, 0), (78, 1), (500, 423)])
def test_what_is_beyond_the_limit_is_counted_and_said(tmp_path: Path, tokens: int, dropped: int) -> None:
    desk = DeskContext(tmp_path)
    assert warn_of_dropped(desk, "prompt", tokens, 77, "CLIP") == dropped
    said = [f"CLIP reads 77 tokens of prompt: its last {dropped} are dropped"] if dropped else []
    assert desk.warnings == said
