"""A text model of transformers that writes: read whole from a directory or the hub, seeded, and stopped at a token."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import torch
import transformers
from safetensors import SafetensorError

from deployments.nets.loading import memory_of
from serve_app.core.errors import Misconfigured

_MODEL = "weights.model"
_BROKEN = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
_THOUGHTS = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)


@dataclass(frozen=True)
class Manner:
    """How to write: at most ``tokens``; ``temperature`` 0 takes the likeliest token, whatever ``top_p`` (0..1]."""

    tokens: int
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Written:
    """What came: ``text`` on one line, without thoughts and quotation marks, and how many tokens it took."""

    text: str
    tokens: int
    is_cut: bool
    """Whether the limit ended it, and not the model."""


class Writer:
    """One text model. Not thread-safe: the caller writes one text at a time."""

    def __init__(self, model: Any, tokenizer: Any, device: str) -> None:
        self._model, self._tokenizer, self._device = model, tokenizer, device
        own = model.generation_config
        self._end = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        # What the model's file says would fill every gap of ours: a top-k or a penalty that nobody asked for.
        model.generation_config = transformers.GenerationConfig()

    @classmethod
    def load(cls, model: str, revision: str | None, dtype: torch.dtype, device: str) -> Writer:
        """Return the writer of a directory (read offline) or hub id.

        Raises Misconfigured naming ``weights.model`` where it is no whole causal language model in safetensors with a
        tokenizer, or has no chat template; OutOfMemory.
        """
        from pathlib import Path

        where: dict[str, Any] = {"revision": revision, "local_files_only": Path(model).is_dir()}
        transformers.utils.logging.disable_progress_bar()
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(model, **where)
            net, report = transformers.AutoModelForCausalLM.from_pretrained(
                model, dtype=dtype, use_safetensors=True, output_loading_info=True, **where
            )
        except _BROKEN as error:
            raise Misconfigured(_MODEL, f"{model} is not a whole text model: {error}") from error
        if missing := sorted(report["missing_keys"]):
            # transformers would draw them at random.
            raise Misconfigured(_MODEL, f"it lacks {len(missing)} tensors, {missing[0]} among them")
        if not tokenizer.chat_template:
            raise Misconfigured(_MODEL, "its tokenizer has no chat template, so it was not made to follow instructions")
        try:
            tokenizer.apply_chat_template([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])
        except jinja2.TemplateError as error:
            raise Misconfigured(_MODEL, f"its chat template takes no system message: {error}") from error
        with memory_of(model, device):
            return cls(net.eval().to(device), tokenizer, device)

    def tokens_of(self, messages: Sequence[dict[str, str]]) -> int:
        """Return how many tokens the model reads of ``messages``."""
        return len(self._read(messages)["input_ids"][0])

    @property
    def most_tokens(self) -> int:
        """How many tokens the model can attend to, what it reads and what it writes together."""
        return int(getattr(self._model.config, "max_position_embeddings", 1 << 30))

    def write(
        self, messages: Sequence[dict[str, str]], seed: int, manner: Manner, on_token: Callable[[int], None]
    ) -> Written:
        """Return the answer to ``messages`` (role, content). The same seed gives the same text on one machine.

        ``on_token`` hears the count after each token, and what it raises ends the writing.
        """
        given = self._read(messages).to(self._device)
        start = given["input_ids"].shape[1]
        watch = _Watch(start, on_token)
        devices = [torch.cuda.current_device()] if self._device == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(seed)
            made = self._model.generate(**given, generation_config=self._settings(manner), stopping_criteria=[watch])[
                0, start:
            ]
        text = self._tokenizer.decode(made, skip_special_tokens=True)
        return Written(_plain(text), len(made), len(made) >= manner.tokens)

    def _read(self, messages: Sequence[dict[str, str]]) -> Any:
        # Templates of models that think aloud look at `enable_thinking`; the others do not know it.
        return self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True, enable_thinking=False
        )

    def _settings(self, manner: Manner) -> Any:
        is_sampled = manner.temperature > 0
        drawn = {"temperature": manner.temperature, "top_p": manner.top_p, "top_k": 0} if is_sampled else {}
        pad, first = self._tokenizer.pad_token_id, self._end[0] if isinstance(self._end, list) else self._end
        return transformers.GenerationConfig(
            max_new_tokens=manner.tokens,
            do_sample=is_sampled,
            eos_token_id=self._end,
            pad_token_id=first if pad is None else pad,
            **drawn,
        )


class _Watch:
    """A stopping criterion that never stops by itself; it counts."""

    def __init__(self, start: int, on_token: Callable[[int], None]) -> None:
        self._start, self._on_token = start, on_token

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self._on_token(input_ids.shape[1] - self._start)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def _plain(text: str) -> str:
    """Return ``text`` on one line, without what the model said to itself and the marks that it put around it."""
    return " ".join(_THOUGHTS.sub(" ", text).split()).strip("\"'`*“”„ ")
