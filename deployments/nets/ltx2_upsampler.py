"""The network that makes LTX-2's latents twice as wide and high, between the two takes of the two-stage recipe."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

from deployments.nets import loading
from deployments.nets.ltx2_output import require_finite
from serve_app.core.errors import Misconfigured

FIELD = "latent_upsampler"
_WHERE = f"weights.{FIELD}"


class Upsampler:
    """A loaded one. It is on the device while it works, and always where nothing is offloaded."""

    def __init__(self, module: Any, device: torch.device, is_offloaded: bool) -> None:
        self._module, self._device, self._is_offloaded = module, device, is_offloaded

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents `(B, C, F, h, w)` as fp32 `(B, C, F, 2h, 2w)`. Raise StageFailed for NaN and infinity.

        Both are as the autoencoder has them, not normalised: as `output_type="latent"` gives them, and the pipelines
        want them back.
        """
        try:
            self._module.to(self._device)
            with torch.no_grad():
                enlarged: torch.Tensor = self._module(latents.to(self._device, self._module.dtype)).float()
        finally:
            if self._is_offloaded:
                self._module.to("cpu")
        require_finite(enlarged, "the enlarged latents")
        return enlarged


def load(part: loading.Part, checkpoint: loading.Checkpoint, channels: int) -> Upsampler:
    """Load the upsampler for latents of `channels`. A directory is read without any network.

    Raises Misconfigured naming `weights.latent_upsampler` (or its revision), and OutOfMemory.
    """
    module = loading.read_part(LTX2LatentUpsamplerModel, part)
    _check(module.config, channels)
    device = torch.device(checkpoint.device)
    loading.settle_part(module)
    with loading.memory_of(f"the latent upsampler {part.source}", checkpoint.device):
        if not checkpoint.is_offloaded:
            module.to(device)
    return Upsampler(module, device, checkpoint.is_offloaded)


def _check(config: Any, channels: int) -> None:
    """Raise Misconfigured unless it doubles the width and the height, and nothing else.

    The second take would else make a clip of another size or length than was asked for, without a word.
    """
    if config.in_channels != channels:
        raise Misconfigured(_WHERE, f"it takes latents of {config.in_channels} channels, and these have {channels}")
    if config.temporal_upsample or not config.spatial_upsample:
        raise Misconfigured(_WHERE, "it enlarges time; the two-stage recipe enlarges pictures, twice")
    if config.use_rational_resampler and config.rational_spatial_scale != 2:
        raise Misconfigured(_WHERE, f"it enlarges {config.rational_spatial_scale:g} times, and the recipe twice")
