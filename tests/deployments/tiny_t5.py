"""A tiny T5 tokenizer and encoder of random weights: what LTX-Video, Mochi and (as UMT5) Wan read prompts with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WIDTH = 32
"""Of the hidden states, which transformers take as their text width."""

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"-()é"


def tokenizer(limit: int) -> Any:
    """Return a tokenizer that makes a token of every letter and says that its limit is ``limit``."""
    from transformers import T5Tokenizer

    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=words + [(letter, -3.0) for letter in _LETTERS], extra_ids=0, model_max_length=limit)


def encoder(words: int) -> torch.nn.Module:
    """Return a T5 encoder for a vocabulary of ``words``."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=words, feed_forward_proj="gated-gelu", **_sizes())
    model: torch.nn.Module = T5EncoderModel(config)
    # Built directly it would be in training mode, and its dropout would draw from the global generator.
    return model.eval()


def umt5_encoder(words: int) -> torch.nn.Module:
    """Return a UMT5 encoder, whose every layer has position biases of its own."""
    from transformers import UMT5Config, UMT5EncoderModel

    model: torch.nn.Module = UMT5EncoderModel(UMT5Config(vocab_size=words, **_sizes()))
    return model.eval()


def _sizes() -> dict[str, Any]:
    return {"d_model": WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
