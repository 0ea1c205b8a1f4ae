"""LTX-2 through diffusers: from a directory or the hub to two pipelines that share one set of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ImageToVideoPipeline, LTX2Pipeline

from deployments.nets import loading
from deployments.nets.ltx2_output import Quantiser
from deployments.nets.ltx2_prompts import HeldPrompt
from deployments.nets.ltx2_sampling import Version, check_version
from deployments.nets.vae_stream import ChunkedDecode

_UNUSED = ("processor", "prompt_enhancer", "duration_head")
"""Parts of newer checkpoints that rewrite the prompt or choose the length; neither is done here."""

# Gemma is a vision model of which only text is encoded: a checkpoint may leave the vision part out.
FAMILY = loading.Family(name="LTX-2", pipeline=LTX2Pipeline, text_tensors="language_model", unused=_UNUSED)


@dataclass(frozen=True, kw_only=True)
class Checkpoint(loading.Checkpoint):
    """Which LTX-2, and how it is held."""

    version: Version
    is_chunked: bool = False
    """Whether frames are decoded in chunks of time."""


@dataclass(frozen=True)
class Ltx2Pipelines:
    """The same modules, three ways. None of them may run while another does."""

    encoder: Any
    """Everything, used for prompts alone."""
    from_text: Any
    from_image: Any
    prompt: HeldPrompt
    """What the two generating pipelines read as their prompt."""

    @property
    def device(self) -> torch.device:
        """Where the pipelines compute."""
        device: torch.device = self.encoder._execution_device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the transformer is fed."""
        dtype: torch.dtype = self.encoder.transformer.dtype
        return dtype

    @property
    def layers(self) -> int:
        """How many blocks the transformer has."""
        return int(self.encoder.transformer.config.num_layers)

    @property
    def sound_rate(self) -> int:
        """Of the vocoder, in Hz: 24000 for 2.0, 48000 since."""
        return int(self.encoder.vocoder.config.output_sampling_rate)

    def rest(self) -> None:
        """Let go of the prompt, and of the device where parts are offloaded; also after a run that was broken off."""
        self.prompt.hold((), torch.device("cpu"))
        self.encoder.maybe_free_model_hooks()


def load(checkpoint: Checkpoint) -> Ltx2Pipelines:
    """Load `checkpoint`. A directory is read without any network.

    Raises Misconfigured naming `weights.model`, `weights.revision`, `weights.version` or `weights.offload`, and
    OutOfMemory.
    """
    encoder = loading.read(FAMILY, checkpoint)
    check_version(checkpoint.version, encoder.transformer.config)
    return _arrange(encoder, checkpoint)


def _arrange(encoder: Any, checkpoint: Checkpoint) -> Ltx2Pipelines:
    loading.place(encoder, checkpoint)
    if checkpoint.is_chunked:
        encoder.vae.decode = ChunkedDecode(encoder.vae)
    prompt = HeldPrompt()
    return Ltx2Pipelines(
        encoder=encoder,
        from_text=_generator(LTX2Pipeline, encoder, prompt),
        from_image=_generator(LTX2ImageToVideoPipeline, encoder, prompt),
        prompt=prompt,
    )


def _generator(kind: Any, encoder: Any, prompt: HeldPrompt) -> Any:
    """Return a pipeline around `encoder`'s modules, with a scheduler of its own and no text encoder to call."""
    pipeline = kind(
        scheduler=_scheduler(encoder.scheduler),
        vae=encoder.vae,
        audio_vae=encoder.audio_vae,
        text_encoder=None,
        tokenizer=None,
        connectors=prompt,
        transformer=encoder.transformer,
        vocoder=encoder.vocoder,
    )
    pipeline.video_processor = Quantiser(vae_scale_factor=pipeline.vae_spatial_compression_ratio, resample="bilinear")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _scheduler(published: Any) -> Any:
    """Return a scheduler that takes sigmas as they are; the published ones shift and stretch whatever they get."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=published.config.num_train_timesteps,
        shift=1.0,
        use_dynamic_shifting=False,
        shift_terminal=None,
    )
