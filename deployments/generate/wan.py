"""Wan 2.2: a clip from a prompt, from a prompt and its first frame, or from either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deployments.nets.early_abort import EARLY_ABORT, EarlyAbort, check_early_abort
from deployments.nets.held import Held
from deployments.nets.lora.policy import DEFAULT_BUDGET_BYTES, BudgetBytes, WayWanted
from deployments.nets.negatives import MAPPING, Negatives, facts_of, warn_where_inert
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
from serve_app.core.adapter import Adapters
from serve_app.core.media import Clip, Grid, Image, VideoShape, exact_fps
from serve_app.core.stage import Context

if TYPE_CHECKING:
    from deployments.nets.filming import Shot
    from deployments.nets.lora.outfit import Outfit
    from deployments.nets.outlook import Look

_EXPERTS = ("transformer", "transformer_2")
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

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1; ``image``, of any size, shown as the first frame: required by i2v-a14b,
    refused by t2v-a14b; ``adapters``, for one expert or both, applied to this clip alone. Returns ``frames`` uint8
    ``(T, H, W, 3)`` of exactly the size asked for: made on the smallest multiple of 16 px (32 px for ti2v-5b) that
    contains it, and cropped. No sound. One clip is made at a time: a second call waits. Notes ``wan``, the parameters
    in effect, and ``adapters``. Weights: huggingface.co/Wan-AI, those in diffusers' layout.
    """

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps, shared by the two experts; refused where two fall on one noise level",
        "guidance": "guidance_scale, of the high-noise expert or the only one; 1 turns guidance off for both",
        "guidance_low": "guidance_scale_2, of the low-noise expert; refused at guidance 1 and for ti2v-5b",
        "flow_shift": "flow_shift of the scheduler, whose published value is 3 for every size",
        "negative_prompt": "negative_prompt; a warning at guidance 1, where it has no effect",
        "negatives": MAPPING,
        "width": "width; made on a multiple of 16 (ti2v-5b: 32) and cropped",
        "height": "height; made on a multiple of 16 (ti2v-5b: 32) and cropped",
        "frames": "num_frames, 4k+1; others are refused, where diffusers rounds them down or up",
        "fps": "none: it times the clip alone; a warning where it is not the rate of the training clips",
        "seed": "generator",
        "image": "image of WanImageToVideoPipeline; covered and cropped, never stretched; refused by t2v-a14b",
        "adapters": "no argument: layers of one expert or both, changed for the run and then back to the bit",
        "strength": "none: unknown, so an error",
        "max_prompt_tokens": "max_sequence_length; a warning says how many tokens are dropped",
        **EARLY_ABORT,
    }

    class Weights(Held):
        """Which Wan 2.2, and how it is held."""

        variant: Variant = Field("t2v-a14b", description="Checked against the weights, which it decides how to sample.")
        dtype: Literal["auto", "bf16", "fp32"] = Field(
            "auto", description="`auto`: bf16 on a GPU, fp32 on a CPU. The autoencoder is always in fp32."
        )
        prompt_cache_entries: int = Field(16, ge=0, description="Prompts kept encoded, of 4 MiB each; 0 keeps none.")
        adapters: WayWanted = "unfused"
        adapter_bytes: BudgetBytes = DEFAULT_BUDGET_BYTES

    class Params(EarlyAbort, Negatives):
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
        max_prompt_tokens: int = Field(512, ge=16, le=512, description="That UMT5 reads.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``fps``, ``frames`` (not 4k+1) or ``guidance_low`` (guidance is off)."""
        if params.fps is not None:
            exact_fps(params.fps)
        _COUNTS.check_frames(params.frames)
        check_guidance(params.guidance, params.guidance_low)
        check_early_abort(params)

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from deployments.nets import loading, wan
        from deployments.nets.filming import Filmer
        from deployments.nets.lora.rack import Rack
        from deployments.nets.warming import warm_up

        checkpoint = wan.Checkpoint(**vars(loading.Checkpoint.of(weights, context.device)), variant=weights.variant)
        self._pipelines = wan.load(checkpoint)
        facts = loading.facts_of(self._pipelines.encoder, checkpoint)
        self._filmer = Filmer("generate.wan", self._pipelines.encoder, self._pipelines.makers, context, facts)
        self._rack = Rack.of("wan", self._pipelines.encoder, weights, context)
        self._prompts = wan.prompts_of(self._pipelines, weights.prompt_cache_entries)
        self._weights, self._context, self._model = weights, context, checkpoint.name
        traits = TRAITS[weights.variant]
        ways = {False: traits.takes_text_alone, True: traits.takes_image}
        warm_up(self, weights, images=tuple(has_image for has_image, is_taken in ways.items() if is_taken))

    def run(
        self, params: Params, *, prompt: str, seed: int, image: Image | None = None, adapters: Adapters | None = None
    ) -> Clip:
        """Return ``params.frames`` frames of ``params.width`` x ``params.height`` px, without sound.

        Raise InvalidInput naming the field that is not legal or would be ignored, BadAdapter, OutOfMemory, StageFailed
        when a number is not finite, and Cancelled after the step or the frame that was going on.
        """
        from deployments.nets.wan import check_start

        self.plan(params)
        check_image(self._weights.variant, image is not None)
        recipe = self._recipe(params, seed)
        if image is not None:
            check_start(recipe.scheduler, recipe.steps)
        with self._filmer.turn(f"a clip of {recipe.shot.native}"), self._rack.wear(adapters) as outfit:
            self._report(params, recipe, image is not None)
            self._tell_idle(recipe, outfit)
            texts = {"prompt": prompt}
            if not recipe.guidance.is_off:
                texts["negative_prompt"] = params.avoided
            call = self._call(params, recipe, texts)
            if image is not None:
                call["image"] = recipe.shot.start(image)
            maker = self._pipelines.from_text if image is None else self._pipelines.from_image
            maker.scheduler = recipe.scheduler
            return recipe.shot.clip(self._filmer.make(maker, call, self._look(params, image is not None)), self._model)

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

    def _look(self, params: Params, has_image: bool) -> Look | None:
        """Return how to look for a hopeless attempt; None: not at all. ti2v-5b makes all but the first frame."""
        from deployments.nets.outlook import Look

        if params.abort_from is None:
            return None
        if not has_image:
            return Look(params.abort_from)
        return Look(params.abort_from, first=1 if self._weights.variant == "ti2v-5b" else 0, condition="condition")

    def _report(self, params: Params, recipe: Recipe, has_image: bool) -> None:
        """Note what is in effect, and warn of what is not."""
        warn, variant = self._context.warn, self._weights.variant
        warn_where_inert(params, not recipe.guidance.is_off, warn)
        if params.guidance_low is not None and recipe.by_expert[1] == 0:
            warn(f"guidance_low has no effect: all {recipe.steps} steps are the high-noise expert's")
        if note := speed_note(variant, recipe.shot.fps):
            warn(note)
        read = {
            "has_image": has_image,
            **facts_of(params, not recipe.guidance.is_off),
            "max_prompt_tokens": params.max_prompt_tokens,
        }
        self._context.note("wan", {**self._facts(recipe), **read})

    def _tell_idle(self, recipe: Recipe, outfit: Outfit) -> None:
        """Warn of adapters for an expert that makes none of the steps."""
        at_work = [part for part, steps in zip(_EXPERTS, recipe.by_expert, strict=True) if steps]
        for name in outfit.idle_without(at_work):
            self._context.warn(f"{name} has no effect: its expert makes none of the {recipe.steps} steps")

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
