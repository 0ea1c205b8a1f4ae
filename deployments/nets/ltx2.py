"""LTX-2 through diffusers: from a directory or the hub to pipelines that share one set of weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ImageToVideoPipeline, LTX2Pipeline

from deployments.nets import loading, ltx2_upsampler
from deployments.nets.ltx2_conditions import Framing, KeyframePipeline, conditions_of
from deployments.nets.ltx2_keyframes import Keyframe
from deployments.nets.ltx2_output import Quantiser
from deployments.nets.ltx2_prompts import HeldPrompt
from deployments.nets.ltx2_sampling import Version, check_version
from deployments.nets.ltx2_takes import Recipe, Take
from deployments.nets.ltx2_upsampler import Upsampler
from deployments.nets.vae_stream import ChunkedDecode
from serve_app.core.errors import Misconfigured

_UNUSED = ("processor", "prompt_enhancer", "duration_head")
"""Parts of newer checkpoints that rewrite the prompt or choose the length; neither is done here."""

# Gemma is a vision model of which only text is encoded: a checkpoint may leave the vision part out.
FAMILY = loading.Family(name="LTX-2", pipeline=LTX2Pipeline, text_tensors="language_model", unused=_UNUSED)
_TEXTLESS = replace(FAMILY, text_encoders=(), unused=(*_UNUSED, "text_encoder", "tokenizer", "connectors"))


@dataclass(frozen=True, kw_only=True)
class Checkpoint(loading.Checkpoint):
    """Which LTX-2, and how it is held."""

    version: Version
    has_texts: bool = True
    """Whether the text encoder and the connectors are loaded; without them prompts come encoded."""
    is_chunked: bool = False
    """Whether frames are decoded in chunks of time."""
    upsampler: str | None = None
    """Where the latent upsampler is: a directory, or a hub id that has it as `latent_upsampler`."""
    upsampler_revision: str | None = None


@dataclass(frozen=True)
class Begun:
    """What one take hands to the next, not normalised, in fp32."""

    latents: torch.Tensor
    """`(1, C, F, h, w)`, of the size of the next."""
    sound: torch.Tensor
    """`(1, C, L, M)`."""


@dataclass(frozen=True)
class Shot:
    """What decides which pipeline makes a take, and what that one alone is told."""

    keyframes: tuple[Keyframe, ...]
    framing: Framing
    crf: int
    """H.264 quality that the keyframes are brought down to."""
    noise: float
    """The first noise level of the take, which what was begun is brought up to."""
    begun: Begun | None

    @classmethod
    def of(cls, recipe: Recipe, take: Take, begun: Begun | None, crf: int) -> Shot:
        """Return how `take` of `recipe` is made, from what was `begun` before it."""
        framing = Framing(recipe.asked, recipe.native, take.native)
        return cls(recipe.keyframes, framing, crf, take.sigmas[0], begun)


@dataclass(frozen=True)
class Ltx2Pipelines:
    """The same modules, four ways. None of them may run while another does."""

    encoder: Any
    """Everything, used for prompts alone."""
    from_text: Any
    from_image: Any
    from_keyframes: Any
    prompt: HeldPrompt
    """What the three generating pipelines read as their prompt."""
    upsampler: Upsampler | None = None
    """Between the two takes of the two-stage recipe."""

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

    def make(self, shot: Shot, call: dict[str, Any]) -> Any:
        """Return what the right pipeline makes of `shot` and of `call`, the arguments that all of them take."""
        if shot.begun is not None:
            # All three take what was begun without a word and without noise on it, unless they are told.
            begun = {"latents": shot.begun.latents, "audio_latents": shot.begun.sound}
            call = {**call, **begun, "noise_scale": shot.noise}
        if not shot.keyframes:
            return self.from_text(**call)
        if shot.begun is None and len(shot.keyframes) == 1 and shot.keyframes[0].is_held:
            picture = shot.framing.picture(shot.keyframes[0])
            return self.from_image(image=picture, image_crf=shot.crf, **call)
        # Latents make `from_image` forget its picture: the first frame would stay the enlarged one.
        self.from_keyframes.aim(shot.keyframes)
        return self.from_keyframes(conditions=conditions_of(shot.keyframes, shot.framing, shot.crf), **call)

    def enlarge(self, made: Any) -> Begun:
        """Return the latents that a take has `made`, twice as wide and high, and those of its sound as they are.

        Raises Misconfigured where the weights have no upsampler, and StageFailed for what is not finite.
        """
        if self.upsampler is None:
            raise Misconfigured("weights.latent_upsampler", "none is configured")
        return Begun(self.upsampler(made.frames), made.audio)

    def rest(self) -> None:
        """Let go of the prompt, and of the device where parts are offloaded; also after a run that was broken off."""
        self.prompt.hold((), torch.device("cpu"))
        self.encoder.maybe_free_model_hooks()


def load(checkpoint: Checkpoint) -> Ltx2Pipelines:
    """Load `checkpoint`. A directory is read without any network.

    Raises Misconfigured naming `weights.model`, `weights.revision`, `weights.version`, `weights.offload` or
    `weights.latent_upsampler`, and OutOfMemory.
    """
    if checkpoint.upsampler is None and checkpoint.upsampler_revision is not None:
        raise Misconfigured("weights.latent_upsampler_revision", "there is no latent_upsampler that it is of")
    encoder = loading.read(FAMILY if checkpoint.has_texts else _TEXTLESS, checkpoint)
    check_version(checkpoint.version, encoder.transformer.config)
    pipelines = _arrange(encoder, checkpoint)
    return replace(pipelines, upsampler=_upsampler(checkpoint, int(encoder.vae.config.latent_channels)))


def _upsampler(checkpoint: Checkpoint, channels: int) -> Upsampler | None:
    """Return the latent upsampler of `checkpoint`, for latents of so many `channels`, if it names one."""
    if checkpoint.upsampler is None:
        return None
    part = loading.Part(
        field=ltx2_upsampler.FIELD,
        source=checkpoint.upsampler,
        folder="latent_upsampler",
        revision=checkpoint.upsampler_revision,
        dtype=checkpoint.dtype,
    )
    return ltx2_upsampler.load(part, checkpoint, channels)


def _arrange(encoder: Any, checkpoint: Checkpoint) -> Ltx2Pipelines:
    loading.place(encoder, checkpoint)
    if checkpoint.is_chunked:
        encoder.vae.decode = ChunkedDecode(encoder.vae)
    prompt = HeldPrompt()
    return Ltx2Pipelines(
        encoder=encoder,
        from_text=_generator(LTX2Pipeline, encoder, prompt),
        from_image=_generator(LTX2ImageToVideoPipeline, encoder, prompt),
        from_keyframes=_generator(KeyframePipeline, encoder, prompt),
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
