"""A tiny FLUX.1 of random weights (600 thousand parameters, 2 MB), dev or schnell, built without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.deployments import tiny_t5
from tests.deployments.tiny_autoencoder import autoencoder

if TYPE_CHECKING:
    import torch

CLIP_TOKENS = 77
"""What the real CLIP reads, the two tokens around the text included."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-()"


def build(directory: Path, variant: str = "dev", seed: int = 0) -> Path:
    """Write a tiny FLUX.1 ``variant`` as a diffusers directory and return ``directory``. Takes under a second."""
    import torch
    from diffusers import FluxPipeline

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        clip, t5 = _clip_tokenizer(), tiny_t5.tokenizer(512)
        pipeline = FluxPipeline(
            scheduler=_scheduler(variant),
            vae=autoencoder(),
            text_encoder=_clip(len(clip)),
            tokenizer=clip,
            text_encoder_2=tiny_t5.encoder(len(t5)),
            tokenizer_2=t5,
            transformer=_transformer(variant).eval(),
        )
    pipeline.save_pretrained(directory)
    return directory


def _scheduler(variant: str) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    if variant == "schnell":
        return FlowMatchEulerDiscreteScheduler(shift=1.0)
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        shift=3.0,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def _clip_tokenizer() -> Any:
    """Return a CLIP tokenizer that makes a token of every letter."""
    from transformers import CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>"]
    words += [form for letter in _LETTERS for form in (letter, f"{letter}</w>")]
    vocabulary = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=CLIP_TOKENS)


def _clip(words: int) -> torch.nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    model: torch.nn.Module = CLIPTextModel(config)
    return model.eval()


def _transformer(variant: str) -> torch.nn.Module:
    from diffusers import FluxTransformer2DModel

    transformer: torch.nn.Module = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=tiny_t5.WIDTH,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 6, 6),
        guidance_embeds=variant == "dev",
    )
    return transformer
