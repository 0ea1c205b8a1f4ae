"""LTX-2's text encoder as a deployment of its own: a prompt becomes what the transformer reads, which then travels."""

from __future__ import annotations

import threading

from pydantic import Field

from deployments.nets.held import Model
from deployments.nets.ltx2_sampling import Version
from deployments.nets.negatives import Negatives, facts_of, warn_where_inert
from serve_app.core.conditioning import Conditioning
from serve_app.core.errors import InvalidInput, OutOfMemory
from serve_app.core.stage import Context

_PROMPT_BLOCK = 128


class Ltx2Prompt:
    """Encode a prompt for a `generate.ltx2` that has no text encoder (`text_encoder: none`), once for all its seeds.

    Port: ``prompt``. Returns what the connectors make of it, some 15 MiB of arrays, and of what to avoid where
    ``guidance`` is above 1. The generator must have the same weights and dtype: any other refuses it. Adapters that
    change connectors cannot be worn this way, and the generator refuses them. Prompts are kept by text. Notes
    ``ltx2_prompt``, the parameters in effect. Weights: huggingface.co/Lightricks.
    """

    class Weights(Model):
        """Which LTX-2: the generator's, of which the text encoder and the connectors are loaded here."""

        version: Version = Field("2.0", description="Checked against the weights.")
        prompt_cache_entries: int = Field(16, ge=0, description="Prompts kept encoded, of 15 MiB each; 0 keeps none.")

    class Params(Negatives):
        """What the generator's node says too, so that both agree."""

        guidance: float = Field(1.0, ge=1.0, le=30.0, description="The generator's: above 1 the negatives are encoded.")
        max_prompt_tokens: int = Field(1024, ge=128, le=1024, description="A multiple of 128, the generator's too.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``max_prompt_tokens``."""
        if params.max_prompt_tokens % _PROMPT_BLOCK:
            reason = f"{params.max_prompt_tokens} is not a multiple of {_PROMPT_BLOCK}"
            raise InvalidInput("max_prompt_tokens", reason)

    def load(self, weights: Weights, context: Context) -> None:
        """Load the text encoder and the connectors. Raise Misconfigured naming the field at fault, OutOfMemory."""
        from deployments.nets import loading, ltx2_texts

        checkpoint = loading.Checkpoint(
            model=weights.model,
            revision=weights.revision,
            dtype=loading.resolve_dtype(weights.dtype, context.device),
            device=context.device,
        )
        self._prompts = ltx2_texts.load(checkpoint, weights.version, weights.prompt_cache_entries)
        self._encoder = ltx2_texts.identity_of(checkpoint, weights.version)
        self._context, self._lock = context, threading.Lock()

    def run(self, params: Params, *, prompt: str) -> Conditioning:
        """Return ``prompt``, encoded. Raise InvalidInput naming the field, OutOfMemory, and Cancelled between texts."""
        import torch

        from deployments.nets.ltx2_texts import pack

        self.plan(params)
        is_guided = params.guidance > 1
        warn_where_inert(params, is_guided, self._context.warn)
        texts = {"prompt": prompt, **({"negative_prompt": params.avoided} if is_guided else {})}
        encoded, kept = {}, {}
        with self._lock:
            torch.set_num_threads(self._context.threads)
            for field, text in texts.items():
                self._context.check()
                try:
                    one, kept[field] = self._prompts.get(text, params.max_prompt_tokens)
                except torch.OutOfMemoryError as error:
                    raise OutOfMemory("a prompt", self._context.device) from error
                if one.dropped:
                    cut = f"the last {one.dropped} tokens of {field}"
                    self._context.warn(f"{cut} are beyond the limit of {params.max_prompt_tokens}: dropped")
                encoded[field] = pack(text, one)
        made = Conditioning(self._encoder, params.max_prompt_tokens, encoded["prompt"], encoded.get("negative_prompt"))
        facts = {"encoder": vars(self._encoder), "guidance": params.guidance, **facts_of(params, is_guided)}
        self._context.note("ltx2_prompt", {**facts, "bytes": made.size_bytes, "was_kept": kept})
        return made
