"""A tiny text model that knows forty words: random weights, a token for a word, and a chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_TEXT = (
    "a the fox snow lens low camera moves slowly light warm window behind left right hand face looks up red coat "
    "street rain night film shot like quiet water hill tree road house door glass smoke dust sun sky"
)
_CHAT = (
    "{% for message in messages %}{{ message['role'] + ' ' + message['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


def save(root: Path, has_template: bool = True) -> Path:
    """Write the model to ``root``: it draws its words almost evenly, and ends a text at one word in forty or so."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    if has_template:
        tokenizer.chat_template = _CHAT
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    model.generation_config.top_k = 1  # published files have such settings, which would make every seed alike
    model.generation_config.do_sample = True
    model.save_pretrained(root)
    tokenizer.save_pretrained(root)
    return root


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<end>", "<unk>", *_TEXT.split()]
    inner = Tokenizer(WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", pad_token="<pad>", unk_token="<unk>", model_max_length=1024
    )
