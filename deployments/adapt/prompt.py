"""A scene from a few words: a text model writes out what a camera would see."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from serve_app.core import digest
from serve_app.core.errors import InvalidInput, StageFailed
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.writer import Written

Kind = Literal["scene", "portrait", "story"]

TASKS: Mapping[Kind, str] = {
    "scene": "Describe one continuous shot of it: who and what is seen, where it stands in the frame, what moves.",
    "portrait": "Describe one portrait of it: the face, the expression, the clothes, what lies behind.",
    "story": "Describe the one moment of it at which the viewer must choose how to go on, and what lies on both ways.",
}
"""What is asked for."""

_RULES = (
    "You write for a camera crew. Keep every fact that you are given and invent none that contradicts it. "
    "Answer in English with one paragraph of about {words} words, and with nothing else: no title, no list, no remark."
)
_ASPECTS: Mapping[str, str] = {
    "camera": "the lens, its height, its distance and how it moves",
    "light": "where the light comes from, how hard and how warm it is",
    "references": "two or three films whose shots look like it, by title",
}
_LEAST, _MOST = 0.5, 1.6
"""How far from the number of words that was asked for a text may be, as shares of it."""


class Prompt:
    """Has a text model write a short prompt out (`adapt.prompt`), and keeps the original in the report.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1: the same seed, prompt and params give the same text on one machine.
    Returns one paragraph. A text that is shorter than half of ``words`` or longer than 1.6 times as many, or that the
    model did not finish, is written again under another seed, ``tries`` times in all. Notes ``prompt_written``: the
    original, the text in effect, its words and tokens, and the number of the try.
    """

    class Weights(Strict):
        """Which text model: any causal language model of transformers in safetensors that has a chat template."""

        model: str = Field(description="A directory (read offline), or a hub id.")
        revision: str | None = Field(None, description="Of the hub id: a branch, tag or commit.")
        dtype: Literal["auto", "bf16", "fp32"] = Field("auto", description="`auto`: bf16 on a GPU, fp32 on a CPU.")

    class Params(Strict):
        """What to write, and what to do when it does not come out right."""

        kind: Kind = Field("scene", description="`scene`: one shot. `portrait`: a face. `story`: a moment of choice.")
        words: int = Field(100, ge=20, le=400, description="About how many words; half to 1.6 times as many pass.")
        camera: str | None = Field(None, max_length=300, description="The camera's part, to be kept; else invented.")
        light: str | None = Field(None, max_length=300, description="The light, to be kept; else invented.")
        references: str | None = Field(None, max_length=300, description="Films to look like; else chosen.")
        temperature: float = Field(0.7, ge=0, le=2, description="0 takes the likeliest word each time.")
        top_p: float = Field(0.9, gt=0, le=1, description="Draw from the likeliest words of this total probability.")
        tries: int = Field(3, ge=1, le=10, description="Texts to write before giving up.")
        otherwise: Literal["fail", "original"] = Field(
            "fail", description="When no try was right: `fail` the run, or go on with the `original`, and say so."
        )

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``tries`` where each would be the same."""
        if params.temperature == 0 and params.tries > 1 and "tries" in params.model_fields_set:
            raise InvalidInput("tries", "at temperature 0 every try is the same text; leave it out")

    def load(self, weights: Weights, context: Context) -> None:
        """Load the model. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from deployments.nets.loading import resolve_dtype
        from deployments.nets.writer import Writer

        dtype = resolve_dtype(weights.dtype, context.device)
        self._writer = Writer.load(weights.model, weights.revision, dtype, context.device)
        self._context, self._lock = context, threading.Lock()

    def run(self, params: Params, *, prompt: str, seed: int) -> str:
        """Return the prompt, written out.

        Raise InvalidInput naming ``prompt`` (empty, or too long for the model) or ``seed``, StageFailed when no try
        came out right and ``otherwise`` is ``fail``, and Cancelled at the next token.
        """
        import torch

        self.plan(params)
        if not 0 <= seed < 1 << 63:
            raise InvalidInput("seed", f"{seed} is not 0 to {(1 << 63) - 1}")
        if not prompt.strip():
            raise InvalidInput("prompt", "is empty")
        with self._lock:
            torch.set_num_threads(self._context.threads)
            tries = 1 if params.temperature == 0 else params.tries
            for number in range(1, tries + 1):
                written = self._write(params, prompt, seed, number)
                if (fault := fault_of(written, params.words)) is None:
                    return self._kept(prompt, written, number)
                self._context.warn(f"try {number} of {tries}: the text {fault}")
        if params.otherwise == "fail":
            raise StageFailed("adapt.prompt", "NoText", f"no text of about {params.words} words; tries: {tries}")
        self._context.warn("no text came out right: the prompt is the original")
        self._context.note("prompt_written", {"original": prompt, "prompt": prompt, "try": None})
        return prompt

    def _write(self, params: Params, prompt: str, seed: int, number: int) -> Written:
        from deployments.nets.writer import Manner

        messages = messages_of(params, prompt)
        tokens = 3 * params.words  # English takes about 1.3 tokens a word; other tokenizers twice that
        read = self._writer.tokens_of(messages)
        if read + tokens > self._writer.most_tokens:
            room = self._writer.most_tokens
            raise InvalidInput(
                "prompt", f"takes {read} tokens and the text up to {tokens}; the model has room for {room}"
            )
        manner = Manner(tokens, params.temperature, params.top_p)
        told = self._context.progress
        return self._writer.write(messages, seed_of(seed, number), manner, lambda done: told(done, tokens))

    def _kept(self, original: str, written: Written, number: int) -> str:
        facts: dict[str, Any] = {
            "original": original,
            "prompt": written.text,
            "words": len(written.text.split()),
            "tokens": written.tokens,
            "try": number,
        }
        self._context.note("prompt_written", facts)
        return written.text


def seed_of(seed: int, number: int) -> int:
    """Return the seed of try ``number``, from 1: the caller's, then 60 bits of a digest, so neighbours share none."""
    return seed if number == 1 else int(digest.of_bytes(f"{seed}:{number}".encode())[:15], 16)


def messages_of(params: Prompt.Params, prompt: str) -> list[dict[str, str]]:
    """Return what the model is told: the rules, and the task with the three aspects, each given or to be invented."""
    given = {"camera": params.camera, "light": params.light, "references": params.references}
    aspects = [
        f"- {name}: {_ASPECTS[name]}" if text is None else f"- {name}, to be kept as it is: {text}"
        for name, text in given.items()
    ]
    task = [TASKS[params.kind], "Say in it:", *aspects, "", f"What to describe: {prompt.strip()}"]
    return [
        {"role": "system", "content": _RULES.format(words=params.words)},
        {"role": "user", "content": "\n".join(task)},
    ]


def fault_of(written: Written, words: int) -> str | None:
    """Return what is wrong with a text of which about ``words`` were wanted; None if nothing is."""
    count = len(written.text.split())
    if written.is_cut:
        return f"was not finished after {written.tokens} tokens"
    if count < words * _LEAST:
        return f"has {count} words, under {words * _LEAST:g}"
    if count > words * _MOST:
        return f"has {count} words, over {words * _MOST:g}"
    return None
