"""A tiny tokenizer of the Qwen family: a token for every byte, so that any text can be read, and a chat template."""

from __future__ import annotations

from typing import Any

SPECIALS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")

_CHAT = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer() -> Any:
    """Return the tokenizer."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocabulary = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    vocabulary["<|endoftext|>"] = len(vocabulary)
    tokens = Qwen2Tokenizer(vocab=vocabulary, merges=[], model_max_length=4096)
    tokens.add_special_tokens({"extra_special_tokens": list(SPECIALS)})
    tokens.chat_template = _CHAT
    return tokens
