"""Wan 2.2: a clip from a prompt, from a prompt and its first frame, or from either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deployments.nets.wan_sampling import (
    TRAITS,
    Guidance,
    Variant,
    check_guidance,
    check_image,
    guidance_of,
    shift_of,
    speed_note,
)
from serve_app.core.media import Clip, Grid, Image, VideoShape, exact_fps
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.filming import Shot

_COUNTS = Grid(spatial=16, temporal=4)


@dataclass(frozen=True)
class Recipe:
    """Everything about a clip that is decided before its prompt is read."""

    shot: Shot
    steps: int
    by_expert: tuple[int, int]
    """Of the steps, those of the high-noise expert (or of the only one) and of the low-noise one."""
    guidance: Guidance
    scheduler: Any


class Wan:
    """Generate with Wan 2.2 through diffusers (`generate.wan`). The same seed gives the same bytes on one machine.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1; ``image``, of any size, shown as the first frame: required by
    i2v-a14b, refused by t2v-a14b. Returns ``frames`` uint8 ``(T, H, W, 3)`` of exactly the size asked for: made on the
    smallest multiple of 16 px (32 px for ti2v-5b) that contains it, and cropped. No sound. One clip is made at a time:
    a second call waits. Notes ``wan``, the parameters in effect. Weights: huggingface.co/Wan-AI, those in diffusers'
    layout.
    """

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps, shared by the two experts; refused where two fall on one noise level",
        "guidance": "guidance_scale, of the high-noise expert or the only one; 1 turns guidance off for both",
        "guidance_low": "guidance_scale_2, of the low-noise expert; refused at guidance 1 and for ti2v-5b",
        "flow_shift": "flow_shift of the scheduler, whose published value is 3 for every size",
        "negative_prompt": "negative_prompt; a warning at guidance 1, where it has no effect",
        "width": "width; made on a multiple of 16 (ti2v-5b: 32) and cropped",
        "height": "height; made on a multiple of 16 (ti2v-5b: 32) and cropped",
        "frames": "num_frames, 4k+1; others are refused, where diffusers rounds them down or up",
        "fps": "none: it times the clip alone; a warning where it is not the rate of the training clips",
        "seed": "generator",
        "image": "image of WanImageToVideoPipeline; covered and cropped, never stretched; refused by t2v-a14b",
        "strength": "none: unknown, so an error",
        "max_prompt_tokens": "max_sequence_length; a warning says how many tokens are dropped",
    }

    class Weights(Strict):
        """Which Wan 2.2, and how it is held."""

        model: str = Field(description="A directory in diffusers' layout (read offline), or a hub id.")
        revision: str | None = Field(None, description="Of the hub id: a branch, tag or commit.")
        variant: Variant = Field("t2v-a14b", description="Checked against the weights, which it decides how to sample.")
        dtype: Literal["auto", "bf16", "fp32"] = Field(
            "auto", description="`auto`: bf16 on a GPU, fp32 on a CPU. The autoencoder is always in fp32."
        )
        offload: Literal["none", "model"] = Field("none", description="`model`: each part is on the GPU as it works.")
        vae_tiling: bool = Field(False, description="Decode frames in spatial tiles: less memory, faint seams.")
        prompt_cache_entries: int = Field(16, ge=0, description="Prompts kept encoded, of 4 MiB each; 0 keeps none.")

    class Params(Strict):
        """Sizes in px, at most 4096; ``frames`` 4k+1; ``fps`` in Hz. What is left out is what the variant is made for.

        t2v-a14b: 40 steps, guidance 4 and 3, shift 12, 16 fps. i2v-a14b: 40 steps, guidance 3.5, shift 5 (3 up to
        832x480), 16 fps. ti2v-5b: 50 steps, guidance 5, shift 5, 24 fps.
        """

        width: int = Field(1280, ge=16, le=4096)
        height: int = Field(720, ge=16, le=4096)
        frames: int = Field(81, ge=1, le=1201)
        fps: float | str | None = Field(None, description="The model is not told; it only times the clip.")
        steps: int | None = Field(None, ge=1, le=200, description="Shared by the two experts.")
        guidance: float | None = Field(None, ge=1, le=30, description="1 turns guidance off, for both experts.")
        guidance_low: float | None = Field(
            None, ge=1, le=30, description="Of the low-noise expert; left out, the authors' or guidance, if less."
        )
        flow_shift: float | None = Field(None, gt=0, le=100, description="Above 1 spends more steps on high noise.")
        negative_prompt: str | None = Field(None, description="Has an effect only with guidance above 1.")
        max_prompt_tokens: int = Field(512, ge=16, le=512, description="That UMT5 reads.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``fps``, ``frames`` (not 4k+1) or ``guidance_low`` (guidance is off)."""
        if params.fps is not None:
            exact_fps(params.fps)
        _COUNTS.check_frames(params.frames)
        check_guidance(params.guidance, params.guidance_low)

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from deployments.nets import wan
        from deployments.nets.filming import Filmer
        from deployments.nets.loading import resolve_dtype

        checkpoint = wan.Checkpoint(
            model=weights.model,
            revision=weights.revision,
            variant=weights.variant,
            dtype=resolve_dtype(weights.dtype, context.device),
            device=context.device,
            is_offloaded=weights.offload == "model",
            is_tiled=weights.vae_tiling,
        )
        self._pipelines = wan.load(checkpoint)
        self._filmer = Filmer("generate.wan", self._pipelines.encoder, self._pipelines.makers, context)
        self._prompts = wan.prompts_of(self._pipelines, weights.prompt_cache_entries)
        self._weights, self._context, self._model = weights, context, checkpoint.name

    def run(self, params: Params, *, prompt: str, seed: int, image: Image | None = None) -> Clip:
        """Return ``params.frames`` frames of ``params.width`` x ``params.height`` px, without sound.

        Raise InvalidInput naming the field that is not legal or would be ignored, OutOfMemory, StageFailed when a
        number is not finite, and Cancelled after the step or the frame that was going on.
        """
        from deployments.nets.wan import check_start

        self.plan(params)
        check_image(self._weights.variant, image is not None)
        recipe = self._recipe(params, seed)
        if image is not None:
            check_start(recipe.scheduler, recipe.steps)
        with self._filmer.turn(f"a clip of {recipe.shot.native}"):
            self._report(params, recipe, image is not None)
            texts = {"prompt": prompt}
            if not recipe.guidance.is_off:
                texts["negative_prompt"] = params.negative_prompt or ""
            call = self._call(params, recipe, texts)
            if image is not None:
                call["image"] = recipe.shot.start(image)
            maker = self._pipelines.from_text if image is None else self._pipelines.from_image
            maker.scheduler = recipe.scheduler
            return recipe.shot.clip(self._filmer.make(maker, call), self._model)

    def _recipe(self, params: Params, seed: int) -> Recipe:
        from deployments.nets.filming import Shot
        from deployments.nets.wan import scheduler_of, steps_of

        variant = self._weights.variant
        traits = TRAITS[variant]
        asked = VideoShape(frames=params.frames, height=params.height, width=params.width)
        shot = Shot.of(asked, traits.grid, exact_fps(traits.fps if params.fps is None else params.fps), seed)
        shift = shift_of(variant, asked) if params.flow_shift is None else params.flow_shift
        scheduler = scheduler_of(self._pipelines, shift)
        steps = params.steps or traits.steps
        guidance = guidance_of(variant, params.guidance, params.guidance_low)
        return Recipe(shot, steps, steps_of(self._pipelines, scheduler, steps), guidance, scheduler)

    def _report(self, params: Params, recipe: Recipe, has_image: bool) -> None:
        """Note what is in effect, and warn of what is not."""
        warn, variant = self._context.warn, self._weights.variant
        if recipe.guidance.is_off and params.negative_prompt:
            warn("negative_prompt has no effect at guidance 1")
        if params.guidance_low is not None and recipe.by_expert[1] == 0:
            warn(f"guidance_low has no effect: all {recipe.steps} steps are the high-noise expert's")
        if note := speed_note(variant, recipe.shot.fps):
            warn(note)
        read = {
            "has_image": has_image,
            "negative_prompt": None if recipe.guidance.is_off else params.negative_prompt or "",
            "max_prompt_tokens": params.max_prompt_tokens,
        }
        self._context.note("wan", {**self._facts(recipe), **read})

    def _facts(self, recipe: Recipe) -> dict[str, Any]:
        shot, guidance = recipe.shot, recipe.guidance
        pipeline = self._pipelines.encoder
        return {
            "model": self._model,
            "revision": self._weights.revision,
            "variant": self._weights.variant,
            "dtype": str(pipeline.transformer.dtype).removeprefix("torch."),
            "vae_dtype": str(pipeline.vae.dtype).removeprefix("torch."),
            **shot.facts,
            "steps": recipe.steps,
            "steps_of_experts": list(recipe.by_expert[: TRAITS[self._weights.variant].experts]),
            "boundary_ratio": self._pipelines.boundary,
            "flow_shift": recipe.scheduler.config.flow_shift,
            "scheduler": type(recipe.scheduler).__name__,
            "guidance": guidance.high,
            "guidance_low": guidance.low,
            "evaluations_per_step": 1 if guidance.is_off else 2,
        }

    def _call(self, params: Params, recipe: Recipe, texts: dict[str, str]) -> dict[str, Any]:
        """Return what both pipelines are called with. Nothing of theirs that matters is left at its default."""
        return {
            **recipe.shot.call(),
            **self._filmer.read(self._prompts, texts, params.max_prompt_tokens),
            "num_inference_steps": recipe.steps,
            "guidance_scale": recipe.guidance.high,
            "guidance_scale_2": recipe.guidance.low,
        }
