"""A tiny image autoencoder of random weights, laid out as that of FLUX.1: 8x8 px to a latent of 16 channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def autoencoder() -> torch.nn.Module:
    """Return the autoencoder, in evaluation mode."""
    from diffusers import AutoencoderKL

    vae: torch.nn.Module = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=16,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )
    return vae.eval()
