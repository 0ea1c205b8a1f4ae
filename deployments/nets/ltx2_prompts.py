"""Prompts for LTX-2: encoded once, kept as what the transformer reads, and handed to a pipeline that encodes nothing.

The text encoder (13 billion parameters) answers with 49 hidden states per token, 367 MiB a prompt; what the connectors
make of them is 15 MiB. The latter is kept. It does not depend on whether it was kept: the same tensors are handed on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Encoded:
    """A prompt as the transformer reads it, on the CPU, batch 1, of L tokens."""

    video: torch.Tensor
    """`(1, L, C)`, for the picture."""
    audio: torch.Tensor
    """`(1, L, D)`, for the sound."""
    mask: torch.Tensor
    """`(1, L)`: 1 where a token counts."""
    dropped: int
    """Tokens of the prompt beyond the limit."""


class PromptCache:
    """Encodes prompts and keeps the last `entries` of them (0 keeps none), by text, token limit and adapters."""

    def __init__(self, pipeline: Any, entries: int) -> None:
        self._pipeline, self._entries = pipeline, entries
        self._kept: OrderedDict[tuple[str, int, str], Encoded] = OrderedDict()

    def get(self, prompt: str, tokens: int, state: str = "") -> tuple[Encoded, bool]:
        """Return `prompt`, encoded within a limit of `tokens`, and whether that was at hand already.

        `state` tells apart what the connectors are changed by; empty is nothing.
        """
        key = (prompt, tokens, state)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key], True
        encoded = self._encode(prompt, tokens)
        self._kept[key] = encoded
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)
        return encoded, False

    def _encode(self, prompt: str, tokens: int) -> Encoded:
        pipe = self._pipeline
        with torch.no_grad():
            states, mask, _, _ = pipe.encode_prompt(
                prompt, do_classifier_free_guidance=False, max_sequence_length=tokens
            )
            video, audio, read = pipe.connectors(states, mask, padding_side=pipe.tokenizer.padding_side)
        return Encoded(video.cpu(), audio.cpu(), read.cpu(), dropped=max(0, self._count(prompt) - tokens))

    def _count(self, prompt: str) -> int:
        """Return how many tokens `prompt` has, those that the tokenizer adds included."""
        ids = self._pipeline.tokenizer(prompt.strip(), add_special_tokens=True, truncation=False, verbose=False)
        return len(ids["input_ids"])


class HeldPrompt:
    """Stands where a pipeline has its connectors, and answers with the prompts that were put into it."""

    def __init__(self) -> None:
        self._prompts: tuple[Encoded, ...] = ()
        self._device = torch.device("cpu")

    def hold(self, prompts: tuple[Encoded, ...], device: torch.device) -> None:
        """Answer with `prompts` from now on, in this order along the batch; none frees them."""
        self._prompts, self._device = prompts, device

    def __call__(
        self, states: torch.Tensor, mask: torch.Tensor, padding_side: str
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return video, audio and mask, `(B, L, ...)`, for a placeholder of batch B. Raise ValueError for another B."""
        if states.shape[0] != len(self._prompts):
            raise ValueError(f"the pipeline wants {states.shape[0]} prompts and {len(self._prompts)} are held")
        parts = [(one.video, one.audio, one.mask) for one in self._prompts]
        video, audio, read = (torch.cat(part).to(self._device) for part in zip(*parts, strict=True))
        return video, audio, read
