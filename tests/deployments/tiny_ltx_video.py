"""A tiny LTX-Video of random weights (about 3 MB) with the geometry of the real one, built without a download.

Its autoencoder folds 32x32 px and 8 frames into a latent, as the real one does, and may be told, as those since 0.9.1
are, how noisy the latents are that it decodes (`timestep`), and draw noise of its own while it does (`inject`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.deployments import tiny_t5

if TYPE_CHECKING:
    import torch

_LATENTS = 16


def build(directory: Path, decoder: str = "plain", seed: int = 0) -> Path:
    """Write a tiny LTX-Video as a diffusers directory and return ``directory``.

    ``decoder``: ``plain`` (0.9), ``timestep`` (0.9.5 and later) or ``inject`` (0.9.1). Under a second once diffusers is
    imported. The same ``seed`` gives the same weights.
    """
    import torch
    from diffusers import LTXPipeline

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = tiny_t5.tokenizer(128)
        pipeline = LTXPipeline(
            scheduler=_scheduler(),
            vae=vae(decoder),
            text_encoder=tiny_t5.encoder(len(tokenizer)),
            tokenizer=tokenizer,
            transformer=_transformer().eval(),
        )
    pipeline.save_pretrained(directory)
    return directory


def vae(decoder: str = "plain") -> torch.nn.Module:
    """Return the autoencoder alone."""
    import torch
    from diffusers import AutoencoderKLLTXVideo

    model: torch.nn.Module = AutoencoderKLLTXVideo(
        latent_channels=_LATENTS,
        block_out_channels=(16, 16, 16, 16),
        decoder_block_out_channels=(16, 16, 16, 16),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        decoder_inject_noise=(decoder == "inject",) * 5,
        timestep_conditioning=decoder != "plain",
    )
    if decoder == "inject":
        # Untrained, the noise would be multiplied by zero.
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                if "per_channel_scale" in name:
                    tensor.fill_(0.1)
    return model.eval()


def _scheduler() -> Any:
    """Return the published scheduler, which shifts by the clip's size and stretches the last level to 0.1."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        shift_terminal=0.1,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
    )


def _transformer() -> torch.nn.Module:
    from diffusers import LTXVideoTransformer3DModel

    transformer: torch.nn.Module = LTXVideoTransformer3DModel(
        in_channels=_LATENTS,
        out_channels=_LATENTS,
        num_attention_heads=4,
        attention_head_dim=16,
        cross_attention_dim=64,
        num_layers=2,
        caption_channels=tiny_t5.WIDTH,
    )
    return transformer
