"""Prompts for pipelines that read them with T5 (LTX-Video, Mochi, Wan): encoded once, counted, and kept.

What the encoder answers does not depend on whether it was kept: the same tensors are handed on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from deployments.nets.prompts import count_tokens


@dataclass(frozen=True)
class Encoded:
    """A prompt as the transformer reads it, on the CPU, batch 1, of L tokens."""

    states: torch.Tensor
    """`(1, L, C)`."""
    mask: torch.Tensor | None
    """`(1, L)`, True where a token counts; None where the family marks that by zeros in `states`."""
    tokens: int
    """Of the whole prompt, the one that ends it included; those beyond the limit are cut off."""


class T5Prompts:
    """Encodes prompts and keeps the last `entries` of them (0 keeps none), by text and token limit.

    `clean` is what the pipeline does to a text before it counts its tokens.
    """

    def __init__(self, pipeline: Any, entries: int, clean: Callable[[str], str] = str) -> None:
        self._pipeline, self._entries, self._clean = pipeline, entries, clean
        self._kept: OrderedDict[tuple[str, int], Encoded] = OrderedDict()

    def get(self, prompt: str, limit: int) -> Encoded:
        """Return `prompt`, encoded within `limit` tokens."""
        key = (prompt, limit)
        if key not in self._kept:
            self._kept[key] = self._encode(prompt, limit)
        self._kept.move_to_end(key)
        encoded = self._kept[key]
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)
        return encoded

    def _encode(self, prompt: str, limit: int) -> Encoded:
        with torch.no_grad():
            made = self._pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=limit)
        # Wan answers with the prompt and its opposite, the others with a mask beside each.
        states, mask = made[0], made[1]
        tokens = count_tokens(self._pipeline.tokenizer, self._clean(prompt))
        return Encoded(states.cpu(), None if mask is None else mask.cpu(), tokens)
