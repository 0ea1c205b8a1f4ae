"""LTX-Video through diffusers: from a directory or the hub to its pipelines, and from their latents to frames.

Source: HaCohen et al., "LTX-Video: Realtime Video Latent Diffusion", 2024, arXiv:2501.00103; diffusers 0.42.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import LTXImageToVideoPipeline, LTXPipeline
from diffusers.utils.torch_utils import randn_tensor

from deployments.nets import loading
from deployments.nets.vae_stream import CHUNKS, stream_decode
from serve_app.core.media import VideoShape

FAMILY = loading.Family(name="LTX-Video", pipeline=LTXPipeline, transformer="LTXVideoTransformer3DModel")


@dataclass(frozen=True)
class DecodeNoise:
    """What a decoder that finishes the denoising is told, and given; both in 0..1."""

    timestep: float
    """How noisy it is told that the latents are."""
    scale: float
    """How much noise is mixed into them."""


class OwnNoise:
    """Noise that the decoder of 0.9.1 draws for itself: from here, instead of from the process's global generator."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        """Hand a generator to every block of `decoder` that draws."""
        self.seed = 0
        self._generator: torch.Generator | None = None
        decoder.register_forward_pre_hook(self._on_decoder)
        for block in decoder.modules():
            if getattr(block, "per_channel_scale1", None) is not None:
                block.register_forward_pre_hook(self._on_block)

    def _on_decoder(self, _: torch.nn.Module, args: tuple[Any, ...]) -> None:
        # It is the same for every frame of a clip, and so begins again with every chunk.
        self._generator = torch.Generator(args[0].device).manual_seed(self.seed)

    def _on_block(self, _: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        states, temb = args[0], args[1] if len(args) > 1 else None
        return states, temb, self._generator


@dataclass(frozen=True)
class LtxVideoPipelines:
    """The same modules, for text alone and for text with a first frame. Neither may run while the other does."""

    encoder: Any
    """Everything as it was read, used for prompts alone."""
    from_text: Any
    from_image: Any
    own_noise: OwnNoise

    @property
    def makers(self) -> tuple[Any, ...]:
        """The two that make clips."""
        return (self.from_text, self.from_image)

    @property
    def reads_timestep(self) -> bool:
        """Whether the decoder finishes the denoising (0.9.1 and later), and so is told how much is left."""
        return bool(self.encoder.vae.config.timestep_conditioning)


def load(checkpoint: loading.Checkpoint) -> LtxVideoPipelines:
    """Load `checkpoint`. A directory is read without any network.

    Raises Misconfigured naming `weights.model`, `weights.revision` or `weights.offload`, and OutOfMemory.
    """
    encoder = loading.read(FAMILY, checkpoint)
    loading.place(encoder, checkpoint)
    return LtxVideoPipelines(
        encoder=encoder,
        from_text=loading.sibling(LTXPipeline, encoder),
        from_image=loading.sibling(LTXImageToVideoPipeline, encoder),
        own_noise=OwnNoise(encoder.vae.decoder),
    )


@dataclass(frozen=True)
class Ending:
    """What a pipeline ends with: latents `(1, tokens, C)` of a clip, and the generator that drew their noise."""

    latents: torch.Tensor
    shape: VideoShape
    generator: torch.Generator
    noise: DecodeNoise | None
    """None where the decoder reads none."""


def decode(pipelines: LtxVideoPipelines, ending: Ending, in_chunks: bool) -> Iterator[torch.Tensor]:
    """Yield the frames of `ending`, `(1, 3, t, H, W)` in -1..1: all at once, or in chunks of time.

    The pipelines would do it themselves, but that for image-to-video draws the decoder's noise on the GPU, with a
    generator that has to be the CPU's for the clip's noise not to depend on the device.
    """
    vae, pipe = pipelines.encoder.vae, pipelines.from_text
    shape, fold = ending.shape, pipe.vae_spatial_compression_ratio
    latents = pipe._unpack_latents(
        ending.latents,
        (shape.frames - 1) // pipe.vae_temporal_compression_ratio + 1,
        shape.height // fold,
        shape.width // fold,
        pipe.transformer_spatial_patch_size,
        pipe.transformer_temporal_patch_size,
    )
    latents = pipe._denormalize_latents(latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
    latents, timestep = _with_noise(latents.to(pipelines.encoder.text_encoder.dtype), ending)
    latents = latents.to(vae.dtype)
    if in_chunks:
        yield from stream_decode(vae, latents, timestep, CHUNKS)
        return
    with torch.no_grad():
        yield vae.decode(latents, timestep, return_dict=False)[0]


def _with_noise(latents: torch.Tensor, ending: Ending) -> tuple[torch.Tensor, torch.Tensor | None]:
    noise = ending.noise
    if noise is None:
        return latents, None
    drawn = randn_tensor(latents.shape, generator=ending.generator, device=latents.device, dtype=latents.dtype)
    scale = torch.tensor([noise.scale], device=latents.device, dtype=latents.dtype)
    timestep = torch.tensor([noise.timestep], device=latents.device, dtype=latents.dtype)
    return (1 - scale) * latents + scale * drawn, timestep
