"""LTX-2: a clip with sound from a prompt, or from a prompt and its first frame."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from deployments.nets.framing import first_frame, fit_sound
from deployments.nets.ltx2_sampling import (
    PUBLISHED_STEPS,
    TRAITS,
    Guidance,
    Version,
    check_stg_blocks,
    guidance_of,
    is_trained_fps,
    sigmas_of,
)
from serve_app.core.adapter import Adapters
from serve_app.core.errors import InvalidInput, OutOfMemory
from serve_app.core.media import Clip, Grid, Image, VideoShape, centre_crop, exact_fps
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    import PIL.Image
    import torch

    from deployments.nets.ltx2_prompts import Encoded

GRID = Grid(spatial=32, temporal=8)
"""What the video autoencoder can make: sizes in multiples of 32 px, 8k+1 frames."""

_SOUND_LATENTS_PER_S = 25
_PROMPT_BLOCK = 128
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Recipe:
    """Everything about a clip that params and weights decide, before the prompt and the seed."""

    asked: VideoShape
    native: VideoShape
    fps: Fraction
    sigmas: tuple[float, ...]
    guidance: Guidance


class Ltx2:
    """Generate with LTX-2 (2.0, 2.3, 2.5) through diffusers. The same seed gives the same bytes on the same machine.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1; ``image``, of any size, shown as the first frame; ``adapters``, applied
    to this clip alone. Returns ``frames``
    uint8 ``(T, H, W, 3)`` at exactly the size asked for, and stereo sound of exactly their length. One clip is made at
    a time: a second call waits. Notes ``ltx2``, the parameters in effect. Weights: huggingface.co/Lightricks.
    """

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps and sigmas: the published list, for a scheduler that does not warp it",
        "guidance": "guidance_scale and seven more knobs; 1 turns all eight off, above 1 they are the authors'",
        "negative_prompt": "negative_prompt; a warning at guidance 1, where it has no effect",
        "width": "width; made on a multiple of 32 and cropped",
        "height": "height; made on a multiple of 32 and cropped",
        "frames": "num_frames, 8k+1; others are refused, where diffusers drops the rest without a word",
        "fps": "frame_rate, which the model is told; a warning far from 24, 25, 30 and 60",
        "seed": "generator",
        "image": "image of LTX2ImageToVideoPipeline; covered and cropped, never stretched",
        "strength": "none: unknown, so an error",
        "max_prompt_tokens": "max_sequence_length, a multiple of 128; a warning says how many tokens are dropped",
    }

    class Weights(Strict):
        """Which LTX-2, and how it is held."""

        model: str = Field(description="A directory in diffusers' layout (read offline), or a hub id.")
        revision: str | None = Field(None, description="Of the hub id: a branch, tag or commit.")
        version: Version = Field("2.0", description="Checked against the weights, which it decides how to sample.")
        distilled: bool = Field(True, description="Made for few steps at guidance 1, or with such an adapter fused.")
        dtype: Literal["auto", "bf16", "fp32"] = Field("auto", description="`auto`: bf16 on a GPU, fp32 on a CPU.")
        offload: Literal["none", "model"] = Field("none", description="`model`: each part is on the GPU as it works.")
        vae_tiling: bool = Field(False, description="Decode frames in spatial tiles: less memory, faint seams.")
        decode: Literal["full", "chunks"] = Field(
            "full", description="`chunks`: 80 frames at a time, cross-faded, so that memory does not grow with time."
        )
        prompt_cache_entries: int = Field(16, ge=0, description="Prompts kept encoded, of 15 MiB each; 0 keeps none.")
        adapters: Literal["unfused", "baked"] = Field(
            "unfused",
            description="`unfused`: any mix, slower steps. `baked`: the base's speed, slow to change the set.",
        )
        adapter_bytes: int = Field(16 * 2**30, ge=0, description="Memory for loaded adapters; the last used are kept.")
        stg_blocks: tuple[int, ...] | None = Field(None, description="Blocks that guidance perturbs; the version's.")

    class Params(Strict):
        """Sizes in px, at most 4096; ``frames`` 8k+1; ``fps`` in Hz, which the model is told (29.97: 30000/1001)."""

        width: int = Field(1280, ge=32, le=4096)
        height: int = Field(720, ge=32, le=4096)
        frames: int = Field(97, ge=1, le=1201)
        fps: float | str = Field(24.0, description="Trained near 24, 25, 30 and 60.")
        steps: int = Field(10, ge=1, le=200, description="8 or 10 for distilled weights; 30 to 40 for others.")
        guidance: float = Field(
            1.0, ge=1.0, le=30.0, description="1 is off; 3 is usual where weights are not distilled."
        )
        negative_prompt: str | None = Field(None, description="Has an effect only with guidance above 1.")
        max_prompt_tokens: int = Field(1024, ge=128, le=1024, description="A multiple of 128.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``fps``, ``frames`` (not 8k+1, or too short for sound) or ``max_prompt_tokens``."""
        fps = exact_fps(params.fps)
        GRID.check_frames(params.frames)
        # Fewer sound latents than one cannot be denoised; half of one rounds to none.
        if params.frames / fps * _SOUND_LATENTS_PER_S <= Fraction(1, 2):
            raise InvalidInput("frames", f"{params.frames} at {float(fps):g} fps is under 0.02 s, too short for sound")
        if params.max_prompt_tokens % _PROMPT_BLOCK:
            reason = f"{params.max_prompt_tokens} is not a multiple of {_PROMPT_BLOCK}"
            raise InvalidInput("max_prompt_tokens", reason)

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from deployments.nets import ltx2
        from deployments.nets.loading import resolve_dtype
        from deployments.nets.lora.rack import Rack, Setting
        from deployments.nets.ltx2_prompts import PromptCache

        checkpoint = ltx2.Checkpoint(
            model=weights.model,
            revision=weights.revision,
            version=weights.version,
            dtype=resolve_dtype(weights.dtype, context.device),
            device=context.device,
            is_offloaded=weights.offload == "model",
            is_tiled=weights.vae_tiling,
            is_chunked=weights.decode == "chunks",
        )
        self._pipelines = ltx2.load(checkpoint)
        self._stg_blocks = weights.stg_blocks or TRAITS[weights.version].stg_blocks
        if weights.stg_blocks is not None or not weights.distilled:
            check_stg_blocks(self._stg_blocks, self._pipelines.layers)
        self._prompts = PromptCache(self._pipelines.encoder, weights.prompt_cache_entries)
        device, dtype = self._pipelines.device, self._pipelines.dtype
        setting = Setting(weights.adapters, weights.adapter_bytes, device, dtype)
        self._rack = Rack.of("ltx2", self._pipelines.encoder, setting, context)
        self._weights, self._context, self._model = weights, context, checkpoint.name
        self._lock = threading.Lock()

    def run(
        self, params: Params, *, prompt: str, seed: int, image: Image | None = None, adapters: Adapters | None = None
    ) -> Clip:
        """Return ``params.frames`` frames of ``params.width`` x ``params.height`` px with stereo sound.

        Raise InvalidInput naming the field, BadAdapter, Misconfigured (``stg_blocks`` beyond the weights), OutOfMemory,
        StageFailed when a number is not finite, and Cancelled after the step that was going on.
        """
        import torch

        self.plan(params)
        if not 0 <= seed <= _LARGEST_SEED:
            raise InvalidInput("seed", f"{seed} is not 0 to {_LARGEST_SEED}")
        with self._lock:
            recipe = self._recipe(params)
            self._report(params, recipe)
            torch.set_num_threads(self._context.threads)
            try:
                self._context.check()
                with self._rack.wear(adapters) as outfit:
                    encoded = self._encode(params, recipe, prompt, outfit.state_of("connectors"))
                    self._pipelines.prompt.hold(encoded, self._pipelines.device)
                    return self._render(recipe, seed, image)
            except torch.OutOfMemoryError as error:
                raise OutOfMemory(f"a clip of {recipe.native}", self._context.device) from error
            finally:
                self._pipelines.rest()

    def _recipe(self, params: Params) -> Recipe:
        asked = VideoShape(frames=params.frames, height=params.height, width=params.width)
        return Recipe(
            asked=asked,
            native=GRID.cover(asked),
            fps=exact_fps(params.fps),
            sigmas=sigmas_of(params.steps, self._weights.distilled),
            guidance=guidance_of(params.guidance),
        )

    def _report(self, params: Params, recipe: Recipe) -> None:
        """Note what is in effect, and warn of what is not. Raise Misconfigured where guidance could not work."""
        warn, is_distilled = self._context.warn, self._weights.distilled
        if recipe.guidance.is_off and params.negative_prompt:
            warn("negative_prompt has no effect at guidance 1")
        if not recipe.guidance.is_off:
            check_stg_blocks(self._stg_blocks, self._pipelines.layers)
            if is_distilled:
                times = recipe.guidance.evaluations
                warn(f"distilled weights are made for guidance 1; {params.guidance:g} costs {times} times as much")
        if is_distilled and params.steps not in PUBLISHED_STEPS:
            warn(f"{params.steps} steps are off the schedule of distilled weights, which is 8 (or 10)")
        if not is_trained_fps(recipe.fps):
            warn(f"LTX-2 was trained near 24, 25, 30 and 60 fps; {float(recipe.fps):g} changes how it moves")
        self._context.note("ltx2", self._facts(recipe))

    def _facts(self, recipe: Recipe) -> dict[str, Any]:
        traits = TRAITS[self._weights.version]
        return {
            "model": self._model,
            "revision": self._weights.revision,
            "version": self._weights.version,
            "distilled": self._weights.distilled,
            "dtype": str(self._pipelines.dtype).removeprefix("torch."),
            "size": str(recipe.asked),
            "native_size": str(recipe.native),
            "fps": str(recipe.fps),
            "steps": len(recipe.sigmas),
            "sigmas": [round(sigma, 6) for sigma in recipe.sigmas],
            "scheduler": "FlowMatchEulerDiscreteScheduler, static",
            "guidance": asdict(recipe.guidance),
            "evaluations_per_step": recipe.guidance.evaluations,
            "stg_blocks": [] if recipe.guidance.is_off else list(self._stg_blocks),
            "use_cross_timestep": traits.uses_cross_timestep,
            "image_crf": traits.image_crf,
            "sound_rate": self._pipelines.sound_rate,
            "decode": self._weights.decode,
        }

    def _encode(self, params: Params, recipe: Recipe, prompt: str, state: str) -> tuple[Encoded, ...]:
        """Return the prompts in the order of the pipeline's batch: the negative one first, if there is guidance.

        ``state`` tells what adapters the connectors wear.
        """
        texts = {"prompt": prompt}
        if not recipe.guidance.is_off:
            texts = {"negative_prompt": params.negative_prompt or "", **texts}
        encoded = []
        for field, text in texts.items():
            one, _ = self._prompts.get(text, params.max_prompt_tokens, state)
            if one.dropped:
                limit = params.max_prompt_tokens
                self._context.warn(f"the last {one.dropped} tokens of {field} are beyond the limit of {limit}: dropped")
            encoded.append(one)
            self._context.check()
        return tuple(encoded)

    def _render(self, recipe: Recipe, seed: int, image: Image | None) -> Clip:
        from deployments.nets.ltx2_output import sound_of

        call = self._call(recipe, seed)
        if image is None:
            made = self._pipelines.from_text(**call)
        else:
            crf = TRAITS[self._weights.version].image_crf
            made = self._pipelines.from_image(image=_picture(image, recipe), image_crf=crf, **call)
        frames = np.ascontiguousarray(centre_crop(made.frames[0], recipe.asked.height, recipe.asked.width))
        sound = fit_sound(sound_of(made.audio), self._pipelines.sound_rate, recipe.asked.frames, recipe.fps)
        return Clip(frames, recipe.fps, self._model, sound)

    def _call(self, recipe: Recipe, seed: int) -> dict[str, Any]:
        """Return what both pipelines are called with. Nothing of theirs that matters is left at its default."""
        import torch

        # The pipelines want to see embeddings; what they use of them is the batch and the dtype (see HeldPrompt).
        blank = torch.zeros(1, 1, 1, dtype=self._pipelines.dtype, device=self._pipelines.device)
        mask = torch.ones(1, 1, dtype=torch.int64, device=self._pipelines.device)
        return {
            "prompt_embeds": blank,
            "prompt_attention_mask": mask,
            "negative_prompt_embeds": blank,
            "negative_prompt_attention_mask": mask,
            "width": recipe.native.width,
            "height": recipe.native.height,
            "num_frames": recipe.native.frames,
            "frame_rate": float(recipe.fps),
            "num_inference_steps": len(recipe.sigmas),
            "sigmas": list(recipe.sigmas),
            **asdict(recipe.guidance),
            "spatio_temporal_guidance_blocks": list(self._stg_blocks),
            "use_cross_timestep": TRAITS[self._weights.version].uses_cross_timestep,
            "generator": torch.Generator("cpu").manual_seed(seed),
            "output_type": "np",
            "callback_on_step_end": self._on_step,
        }

    def _on_step(self, pipeline: Any, index: int, _: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        """Count a step once the device has done it; raise Cancelled from inside the loop, so nothing is decoded."""
        from deployments.nets.ltx2_output import require_finite

        require_finite(tensors["latents"], f"step {index + 1}")
        self._context.progress(index + 1, pipeline.num_timesteps)
        return tensors


def _picture(image: Image, recipe: Recipe) -> PIL.Image.Image:
    """Return the one PIL picture that the pipeline's H.264 pass insists on, at the size that it generates."""
    import PIL.Image

    return PIL.Image.fromarray(first_frame(image, recipe.asked, recipe.native))
