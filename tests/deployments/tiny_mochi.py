"""A tiny Mochi of random weights (about 3 MB) with the geometry of the real one, built without a download.

Its autoencoder folds 8x8 px and 6 frames into a latent, and its transformer takes two by two of them, as the real ones
do: sizes are multiples of 16 px, counts are 6k+1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.deployments import tiny_t5

if TYPE_CHECKING:
    import torch

_LATENTS = 12


def build(directory: Path, seed: int = 0, inverts: bool = True) -> Path:
    """Write a tiny Mochi as a diffusers directory and return ``directory``.

    Under a second once diffusers is imported. The same ``seed`` gives the same weights. ``inverts``: Mochi's scheduler
    counts noise upwards; without it the weights would see every level as its opposite.
    """
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, MochiPipeline

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = tiny_t5.tokenizer(256)
        pipeline = MochiPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=inverts),
            vae=_vae().eval(),
            text_encoder=tiny_t5.encoder(len(tokenizer)),
            tokenizer=tokenizer,
            transformer=_transformer().eval(),
            force_zeros_for_empty_prompt=True,
        )
    pipeline.save_pretrained(directory)
    return directory


def _transformer() -> torch.nn.Module:
    from diffusers import MochiTransformer3DModel

    transformer: torch.nn.Module = MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=4,
        attention_head_dim=16,
        num_layers=2,
        pooled_projection_dim=32,
        in_channels=_LATENTS,
        qk_norm="rms_norm",
        text_embed_dim=tiny_t5.WIDTH,
        time_embed_dim=16,
        max_sequence_length=256,
    )
    return transformer


def _vae() -> torch.nn.Module:
    from diffusers import AutoencoderKLMochi

    vae: torch.nn.Module = AutoencoderKLMochi(
        latent_channels=_LATENTS,
        out_channels=3,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    return vae
