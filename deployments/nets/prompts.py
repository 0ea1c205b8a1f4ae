"""How much of a prompt an encoder reads. The pipelines drop the rest with a line in a log, or with none."""

from __future__ import annotations

from typing import Any

from serve_app.core.stage import Context


def count_tokens(tokenizer: Any, text: str) -> int:
    """Return how many tokens `text` has, those included that the tokenizer adds around it."""
    ids = tokenizer(text, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]
    return len(ids)


def warn_of_dropped(context: Context, field: str, tokens: int, limit: int, reader: str) -> int:
    """Return how many of `tokens` are beyond the `limit` of `reader` (an encoder's name), and warn if there are any."""
    dropped = max(0, tokens - limit)
    if dropped:
        context.warn(f"{reader} reads {limit} tokens of {field}: its last {dropped} are dropped")
    return dropped
