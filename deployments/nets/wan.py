"""Wan 2.2 through diffusers: from a directory or the hub to the pipelines that its weights can be used with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline, WanPipeline

# `encode_prompt` cleans a text with ftfy, which diffusers does not require: without it text-to-video would leave the
# text as it is, and image-to-video end in a NameError.
from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean

from deployments.nets import loading
from deployments.nets.t5_prompts import T5Prompts
from deployments.nets.wan_sampling import TRAITS, Variant, check_timesteps, check_variant, split_steps
from serve_app.core.errors import Misconfigured


@dataclass(frozen=True, kw_only=True)
class Checkpoint(loading.Checkpoint):
    """Which Wan 2.2, and how it is held."""

    variant: Variant


@dataclass(frozen=True)
class WanPipelines:
    """The same modules, for text alone and for text with a first frame. None may run while another does."""

    encoder: Any
    """Everything as it was read, used for prompts alone."""
    from_text: Any
    """None for weights that need a first frame."""
    from_image: Any
    """None for weights that take no picture."""

    @property
    def makers(self) -> tuple[Any, ...]:
        """The pipelines that there are, of the two that make clips."""
        return tuple(one for one in (self.from_text, self.from_image) if one is not None)

    @property
    def boundary(self) -> float | None:
        """The noise level (0..1) at which the second expert takes over; None where there is one expert."""
        ratio: float | None = self.encoder.config.boundary_ratio
        return ratio


def load(checkpoint: Checkpoint) -> WanPipelines:
    """Load `checkpoint`. A directory is read without any network.

    The autoencoder is held in fp32 whatever the dtype of the rest, as its authors have it.
    Raises Misconfigured naming `weights.model`, `weights.revision`, `weights.variant` or `weights.offload`, and
    OutOfMemory.
    """
    traits = TRAITS[checkpoint.variant]
    kind = WanPipeline if traits.takes_text_alone else WanImageToVideoPipeline
    encoder = loading.read(loading.Family(name="Wan 2.2", pipeline=kind, fp32=("vae",)), checkpoint)
    check_variant(checkpoint.variant, encoder.config, encoder.transformer.config.in_channels, encoder.vae.config.z_dim)
    _check_scheduler(encoder.scheduler)
    loading.place(encoder, checkpoint)
    return WanPipelines(
        encoder=encoder,
        from_text=loading.sibling(WanPipeline, encoder) if traits.takes_text_alone else None,
        from_image=loading.sibling(WanImageToVideoPipeline, encoder) if traits.takes_image else None,
    )


def _check_scheduler(published: Any) -> None:
    """Raise Misconfigured unless it is the one whose shift is set for every clip: others would ignore it."""
    if not isinstance(published, UniPCMultistepScheduler) or not published.config.use_flow_sigmas:
        reason = f"the scheduler is a {type(published).__name__}; Wan 2.2's is UniPC with use_flow_sigmas"
        raise Misconfigured("weights.model", reason)


def prompts_of(pipelines: WanPipelines, entries: int) -> T5Prompts:
    """Return what encodes prompts and keeps the last `entries` of them."""
    return T5Prompts(pipelines.encoder, entries, prompt_clean)


def scheduler_of(pipelines: WanPipelines, shift: float) -> UniPCMultistepScheduler:
    """Return a scheduler for one run. It remembers the last steps, so none is shared between runs or experts."""
    published = pipelines.encoder.scheduler
    return UniPCMultistepScheduler.from_config(published.config, flow_shift=shift)


def steps_of(pipelines: WanPipelines, scheduler: Any, steps: int) -> tuple[int, int]:
    """Return how many of `steps` the high-noise and the low-noise expert make."""
    scheduler.set_timesteps(steps)
    boundary, levels = pipelines.boundary, scheduler.config.num_train_timesteps
    return split_steps(scheduler.timesteps.tolist(), None if boundary is None else boundary * levels)


def check_start(scheduler: Any, steps: int) -> None:
    """Raise InvalidInput naming `steps` if the first two are at one noise level, where image-to-video skips one.

    Its pipeline lets the scheduler look up which step it begins with, by a level that has been cut to a whole number;
    text-to-video's says that it is the first.
    """
    scheduler.set_timesteps(steps)
    check_timesteps(scheduler.timesteps.tolist(), scheduler.config.flow_shift)
