"""Tiny Wan 2.2 of random weights (under 2 MB), with the geometry of the real ones, built without a download.

The autoencoder of the A14B folds 8x8 px and 4 frames into a latent, that of the 5B 16x16 px, and a transformer's patch
is 2x2 latents: sizes are multiples of 16 and of 32 px, counts are 4k+1, as in the real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.deployments import tiny_t5

if TYPE_CHECKING:
    import torch

_LATENTS = 16
_MASK = 4
"""Channels that tell the image-to-video transformer which frames it was given."""


def build(directory: Path, version: str = "t2v-a14b", seed: int = 0) -> Path:
    """Write a tiny Wan 2.2 (``t2v-a14b``, ``i2v-a14b``, ``ti2v-5b``) as a diffusers directory; return ``directory``.

    Less than a second once diffusers is imported. The same ``seed`` gives the same weights.
    """
    import torch
    from diffusers import WanImageToVideoPipeline, WanPipeline

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = tiny_t5.tokenizer(512)
        is_small, takes_image = version == "ti2v-5b", version == "i2v-a14b"
        width = 2 * _LATENTS + _MASK if takes_image else _LATENTS
        kind = WanImageToVideoPipeline if takes_image else WanPipeline
        pipeline = kind(
            tokenizer=tokenizer,
            text_encoder=tiny_t5.umt5_encoder(len(tokenizer)),
            vae=_vae(is_small).eval(),
            scheduler=_scheduler(),
            transformer=_transformer(width).eval(),
            transformer_2=None if is_small else _transformer(width).eval(),
            boundary_ratio={"t2v-a14b": 0.875, "i2v-a14b": 0.9, "ti2v-5b": None}[version],
            expand_timesteps=is_small,
        )
    pipeline.save_pretrained(directory)
    return directory


def _scheduler() -> Any:
    """Return the published scheduler: its shift is 3 whatever the weights and the size."""
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def _transformer(in_channels: int) -> torch.nn.Module:
    from diffusers import WanTransformer3DModel

    transformer: torch.nn.Module = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=4,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=_LATENTS,
        text_dim=tiny_t5.WIDTH,
        freq_dim=64,
        ffn_dim=64,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=256,
    )
    return transformer


def _vae(is_small: bool) -> torch.nn.Module:
    from diffusers import AutoencoderKLWan

    # Wan2.2's own autoencoder folds 2x2 px into channels before the first layer.
    folded: dict[str, Any] = {"patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16}
    vae: torch.nn.Module = AutoencoderKLWan(
        base_dim=8,
        z_dim=_LATENTS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=is_small,
        **(folded if is_small else {}),
    )
    return vae
