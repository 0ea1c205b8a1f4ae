"""Prompts of LTX-2 that travel: encoded by a deployment of their own, checked, and read where no text encoder is.

The transformer's replica then holds 40 GiB in bf16 instead of 65 (23 GiB with the transformer in fp8), and what travels
is what the connectors made, 15 MiB a prompt, not the 367 MiB of hidden states that they read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import LTX2Pipeline, LTX2VideoTransformer3DModel

from deployments.nets import loading
from deployments.nets.ltx2 import FAMILY
from deployments.nets.ltx2_prompts import Encoded, PromptCache
from deployments.nets.ltx2_sampling import Version, check_version
from serve_app.core import digest
from serve_app.core.conditioning import Conditioning, EncodedPrompt, Encoder
from serve_app.core.errors import InvalidInput

_RENDERERS = ("transformer", "vae", "audio_vae", "vocoder", "scheduler")
TEXTS = replace(FAMILY, unused=(*FAMILY.unused, *_RENDERERS))
"""What encodes prompts: the text encoder, its tokenizer and the connectors."""


@dataclass(frozen=True)
class Wanted:
    """What a render needs of a conditioning."""

    encoder: Encoder
    is_guided: bool
    tokens: int
    """The limit that it names."""


def load(checkpoint: loading.Checkpoint, version: Version, entries: int) -> PromptCache:
    """Load what encodes prompts, and nothing else. Raises what `ltx2.load` does."""
    pipeline = loading.read(TEXTS, checkpoint)
    check_version(version, _transformer_config(checkpoint))
    loading.place(pipeline, checkpoint)
    return PromptCache(pipeline, entries)


def identity_of(checkpoint: loading.Checkpoint, version: Version) -> Encoder:
    """Return what the prompts of `checkpoint` are encoded with, known without loading any of it."""
    index = LTX2Pipeline.load_config(checkpoint.model, **checkpoint.where)
    configs = [_own(index), _own(_transformer_config(checkpoint))]
    return Encoder(
        family="ltx2",
        model=checkpoint.name,
        revision=checkpoint.revision,
        version=version,
        dtype=str(checkpoint.dtype).removeprefix("torch."),
        config=digest.of_json(configs),
        connectors=_connectors_digest(checkpoint),
    )


def pack(text: str, encoded: Encoded) -> EncodedPrompt:
    """Return `encoded` as arrays; the opposite of `unpack`, to the bit."""
    tensors = {"video": encoded.video, "audio": encoded.audio, "mask": encoded.mask}
    return EncodedPrompt(text, {name: _array(tensor) for name, tensor in tensors.items()}, encoded.dropped)


def unpack(given: Conditioning, wanted: Wanted) -> tuple[Encoded, ...]:
    """Return the prompts in the order of a pipeline's batch: the negative one first, if there is guidance.

    Raises Misconfigured where others encoded it, and InvalidInput naming `guidance` or `max_prompt_tokens` where it is
    not what the render needs.
    """
    given.encoder.require(wanted.encoder)
    if wanted.is_guided and given.negative is None:
        raise InvalidInput("guidance", "no negative prompt was encoded: the node that encodes needs the same guidance")
    if given.tokens != wanted.tokens:
        reason = f"{wanted.tokens}, and the prompt was encoded within {given.tokens}"
        raise InvalidInput("max_prompt_tokens", reason)
    prompts = (given.negative, given.prompt) if wanted.is_guided else (given.prompt,)
    return tuple(_encoded(one) for one in prompts if one is not None)


def blank(transformer: Any, encoder: Encoder, tokens: int) -> Conditioning:
    """Return a prompt of nothing, of the shapes that the connectors give `transformer`, to warm up with."""
    config, dtype = transformer.config, transformer.dtype
    widths = (config.cross_attention_dim, config.audio_cross_attention_dim)
    if config.get("use_prompt_embeddings", True):
        widths = (config.caption_channels, config.caption_channels)
    video, audio = (torch.zeros(1, tokens, width, dtype=dtype) for width in widths)
    nothing = Encoded(video, audio, torch.ones(1, tokens, dtype=torch.int64), dropped=0)
    return Conditioning(encoder, tokens, pack("", nothing))


def _encoded(one: EncodedPrompt) -> Encoded:
    video, audio, mask = (_tensor(one.arrays[name]) for name in ("video", "audio", "mask"))
    return Encoded(video, audio, mask, one.dropped)


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = (tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    # Out of a shared store it is read-only, which torch's tensors cannot be.
    tensor = torch.from_numpy(array.copy())
    return tensor.view(torch.bfloat16) if tensor.dtype is torch.uint16 else tensor


def _transformer_config(checkpoint: loading.Checkpoint) -> dict[str, Any]:
    found: dict[str, Any] = LTX2VideoTransformer3DModel.load_config(
        checkpoint.model, subfolder="transformer", **checkpoint.where
    )
    return found


def _own(config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` without what says who wrote the file, and when."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _connectors_digest(checkpoint: loading.Checkpoint) -> str | None:
    files = sorted(Path(checkpoint.model).glob("connectors/*.safetensors")) if checkpoint.is_local else []
    return digest.of_json([digest.of_file(file) for file in files]) if files else None
