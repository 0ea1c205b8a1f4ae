"""Making a pipeline of diffusers hold its weights as asked: stored narrow, moved in groups, compiled, and attending.

What cannot be done here is an error at load that names the field; diffusers itself finds most of it out at the first
call, and ignores some of it for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.hooks import apply_group_offloading
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from deployments.nets.held import Options
from deployments.nets.memory import weights_bytes
from serve_app.core.errors import Misconfigured

STORED = torch.float8_e4m3fn
COMPILER = "inductor"
_GRAPHS = 64
"""Variants of one block that may be compiled: guidance, pictures, prompts and sizes each make some; torch allows 8."""
_LAYERS = ("transformer", "transformer_2")


def transformers_of(pipeline: Any) -> Iterator[Any]:
    """Yield what denoises: one network, or two experts."""
    for name in _LAYERS:
        if (net := getattr(pipeline, name, None)) is not None:
            yield net


def narrow(net: Any, dtype: torch.dtype) -> None:
    """Keep the weights of `net` as fp8, to be widened to `dtype` as each layer works.

    Norms, embeddings and what else the family's class in diffusers marks stay wide. Do it where all weights have memory
    of their own. Raises Misconfigured naming `weights.storage` where nothing could be narrowed.
    """
    net.enable_layerwise_casting(storage_dtype=STORED, compute_dtype=dtype)
    if not any(parameter.dtype == STORED for parameter in net.parameters()):
        raise Misconfigured("weights.storage", f"no layer of {type(net).__name__} can be stored as fp8")


def attend(net: Any, backend: str) -> None:
    """Let every attention of `net` use `backend` of diffusers, and that of no other model.

    Raises Misconfigured naming `weights.attention`: there is none, its package is missing, it would be downloaded, or
    `net` does not ask.
    """
    where = "weights.attention"
    if backend.endswith("_hub"):
        raise Misconfigured(where, f"{backend} runs code that diffusers downloads from the hub")
    active, _ = _AttentionBackendRegistry.get_active_backend()
    try:
        net.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError) as error:
        raise Misconfigured(where, f"{backend} is not to be had: {error}") from error
    finally:
        # diffusers makes it the process's own choice as well, for every model that has made none.
        _AttentionBackendRegistry.set_active_backend(active)
    asked = [module.processor for module in net.modules() if hasattr(module, "processor")]
    deaf = [each for each in asked if getattr(each, "_attention_backend", None) != backend]
    if deaf or not asked:
        name = type(deaf[0]).__name__ if deaf else type(net).__name__
        raise Misconfigured(where, f"{name} does not ask which backend to use")


def offload_groups(pipeline: Any, options: Options, device: torch.device) -> None:
    """Put the parts of `pipeline` on `device`, but the transformers and text encoders, whose layers visit it in groups.

    Raises Misconfigured naming `weights.offload` for a transformer that cannot be split, and `weights.group_stream`.
    """
    if options.group_stream and device.type != "cuda":
        raise Misconfigured("weights.group_stream", f"there are no streams on {device}")
    nets = list(transformers_of(pipeline))
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        if any(part is net for net in nets):
            _group(part, options, device)
        elif name.startswith("text_encoder"):
            # Their blocks lie too deep for diffusers to find them, and it finds every leaf.
            apply_group_offloading(part, device, offload_type="leaf_level", use_stream=options.group_stream)
        else:
            part.to(device)


def _group(net: Any, options: Options, device: torch.device) -> None:
    try:
        net.enable_group_offload(
            device,
            offload_type="block_level",
            num_blocks_per_group=options.group_blocks,
            use_stream=options.group_stream,
        )
    except ValueError as error:
        raise Misconfigured("weights.offload", f"{type(net).__name__} has no groups to move: {error}") from error


def compile_blocks(net: Any) -> None:
    """Compile the repeated blocks of `net`, whole, when they are first used.

    Raises Misconfigured naming `weights.compile` where the family's class in diffusers names none.
    """
    # torch's own limit of 8 cannot be raised in its config: that is each thread's own, and the next would be refused.
    try:
        net.compile_repeated_blocks(fullgraph=True, backend=COMPILER, recompile_limit=_GRAPHS)
    except ValueError as error:
        raise Misconfigured("weights.compile", str(error)) from error


def bytes_of(pipeline: Any) -> dict[str, int]:
    """Return what the weights of each part take, wherever they are."""
    parts = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return {name: sum(weights_bytes(part).values()) for name, part in parts.items()}
