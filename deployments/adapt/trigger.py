"""A prompt with the words in it that its adapters were trained to answer to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serve_app.core.adapter import Adapter, Adapters, missing_triggers
from serve_app.core.stage import Context, Strict


class Trigger:
    """Put the trigger words of a run's adapters in front of its prompt, where they are missing.

    Ports: ``prompt``; ``adapters``, of `adapt.lora` (none: the prompt is handed on). Returns the prompt for a
    generator. A word is there whatever its case, as a word of its own. An adapter at strength 0 asks for none. Notes
    ``trigger_words``, those that were added.
    """

    is_cpu_only = True

    class Weights(Strict):
        """It has none."""

    class Params(Strict):
        """What is done about trigger words that the prompt lacks."""

        trigger: Literal["prefix", "warn", "ignore"] = Field(
            "prefix", description="Put them in front, say that they are missing, or hand the prompt on."
        )
        words: Literal["all", "first"] = Field(
            "all", description="`first`: an adapter is content with any one of its words, and gets its first one."
        )

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context."""
        self._context = context

    def run(self, params: Params, *, prompt: str, adapters: Adapters | None = None) -> str:
        """Return ``prompt``, with `word, word, ` before it where words are added, in the order of the adapters."""
        missing: dict[str, None] = {}
        for adapter in adapters.items if adapters else ():
            missing |= dict.fromkeys(_missing(params, adapter, prompt))
        words = list(missing)
        if params.trigger == "warn" and words:
            self._context.warn(f"the prompt lacks {', '.join(map(repr, words))}, which its adapters answer to")
        added = words if params.trigger == "prefix" else []
        self._context.note("trigger_words", added)
        return ", ".join([*added, prompt])


def _missing(params: Trigger.Params, adapter: Adapter, prompt: str) -> list[str]:
    if params.trigger == "ignore" or adapter.strength == 0:
        return []
    missing = missing_triggers(adapter.triggers, prompt)
    if params.words == "all":
        return missing
    return missing[:1] if len(missing) == len(adapter.triggers) else []
