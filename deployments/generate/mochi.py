"""Mochi 1: a clip from a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from deployments.nets.early_abort import EARLY_ABORT, EarlyAbort, check_early_abort
from deployments.nets.held import Held
from deployments.nets.negatives import MAPPING, Negatives, facts_of, warn_where_inert
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.media import Clip, Grid, VideoShape, exact_fps
from serve_app.core.stage import Context

if TYPE_CHECKING:
    from deployments.nets.filming import Shot

GRID = Grid(spatial=16, temporal=6)
"""Sizes in multiples of 16 px, 6k+1 frames. (diffusers takes multiples of 8, and fails in the first step.)"""

_TRAINED_FPS = 30


@dataclass(frozen=True)
class Recipe:
    """Everything about a clip that is decided before its prompt is read."""

    shot: Shot
    steps: int
    guidance: float

    @property
    def is_guided(self) -> bool:
        """Whether a step is an evaluation of a batch of two."""
        return self.guidance > 1


class Mochi:
    """Generate with Mochi 1 through diffusers (`generate.mochi`). The same seed gives the same bytes on one machine.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1. It takes no picture. Returns ``frames`` uint8 ``(T, H, W, 3)`` of
    exactly the size asked for: made on the smallest multiple of 16 px that contains it, and cropped. No sound. One clip
    is made at a time: a second call waits. Notes ``mochi``, the parameters in effect. Weights: huggingface.co/genmo.
    Source: the authors' code, genmoai/mochi (schedule, steps, guidance, size and rate).
    """

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps; 1 is refused, where diffusers divides by zero",
        "guidance": "guidance_scale; 1 is off",
        "negative_prompt": "negative_prompt; a warning at guidance 1, where it has no effect",
        "negatives": MAPPING,
        "width": "width; made on a multiple of 16 and cropped",
        "height": "height; made on a multiple of 16 and cropped",
        "frames": "num_frames, 6k+1; others are refused, where diffusers drops the rest without a word",
        "fps": "none: it times the clip alone; a warning where it is not the 30 of the training clips",
        "seed": "generator",
        "image": "none: there is no such port, so an error at plan time",
        "strength": "none: unknown, so an error",
        "max_prompt_tokens": "max_sequence_length; a warning says how many tokens are dropped",
        **EARLY_ABORT,
    }

    class Weights(Held):
        """Which Mochi, and how it is held."""

        prompt_cache_entries: int = Field(16, ge=0, description="Prompts kept encoded, of 2 MiB each; 0 keeps none.")

    class Params(EarlyAbort, Negatives):
        """Sizes in px, at most 4096; ``frames`` 6k+1; ``fps`` in Hz."""

        width: int = Field(848, ge=16, le=4096)
        height: int = Field(480, ge=16, le=4096)
        frames: int = Field(85, ge=1, le=1201)
        fps: float | str = Field(30.0, description="The model is not told; it only times the clip. Trained at 30.")
        steps: int = Field(64, ge=1, le=200, description="2 or more.")
        guidance: float = Field(4.5, ge=1, le=30, description="1 is off.")
        max_prompt_tokens: int = Field(256, ge=16, le=256, description="That T5 reads.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``fps``, ``frames`` (not 6k+1) or ``steps`` (one)."""
        exact_fps(params.fps)
        GRID.check_frames(params.frames)
        if params.steps == 1:
            raise InvalidInput("steps", "1 cannot be halved into the schedule's two parts; the least is 2")
        check_early_abort(params)

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from diffusers import MochiPipeline

        from deployments.nets import loading
        from deployments.nets.filming import Filmer
        from deployments.nets.t5_prompts import T5Prompts
        from deployments.nets.warming import warm_up

        checkpoint = loading.Checkpoint.of(weights, context.device)
        family = loading.Family(name="Mochi", pipeline=MochiPipeline, transformer="MochiTransformer3DModel")
        self._pipeline = loading.read(family, checkpoint)
        if not self._pipeline.scheduler.config.invert_sigmas:
            reason = "the scheduler has no invert_sigmas, so every noise level would be read as its opposite"
            raise Misconfigured("weights.model", reason)
        loading.place(self._pipeline, checkpoint)
        facts = loading.facts_of(self._pipeline, checkpoint)
        self._filmer = Filmer("generate.mochi", self._pipeline, (self._pipeline,), context, facts)
        self._prompts = T5Prompts(self._pipeline, weights.prompt_cache_entries)
        self._weights, self._context, self._model = weights, context, checkpoint.name
        warm_up(self, weights)

    def run(self, params: Params, *, prompt: str, seed: int) -> Clip:
        """Return ``params.frames`` frames of ``params.width`` x ``params.height`` px, without sound.

        Raise InvalidInput naming the field that is not legal, OutOfMemory, StageFailed when a number is not finite, and
        Cancelled after the step that was going on.
        """
        from deployments.nets.outlook import Look

        self.plan(params)
        recipe = self._recipe(params, seed)
        with self._filmer.turn(f"a clip of {recipe.shot.native}"):
            self._report(params, recipe)
            look = None if params.abort_from is None else Look(params.abort_from)
            frames = self._filmer.make(self._pipeline, self._call(params, recipe, prompt), look)
            return recipe.shot.clip(frames, self._model)

    def _recipe(self, params: Params, seed: int) -> Recipe:
        from deployments.nets.filming import Shot

        asked = VideoShape(frames=params.frames, height=params.height, width=params.width)
        return Recipe(Shot.of(asked, GRID, exact_fps(params.fps), seed), params.steps, params.guidance)

    def _report(self, params: Params, recipe: Recipe) -> None:
        """Note what is in effect, and warn of what is not."""
        fps = recipe.shot.fps
        warn_where_inert(params, recipe.is_guided, self._context.warn)
        if fps != _TRAINED_FPS:
            times = f"{float(fps / _TRAINED_FPS):.3g}x as fast"
            self._context.warn(f"Mochi is not told the rate: it moves as at 30 fps, so {float(fps):g} plays {times}")
        self._context.note(
            "mochi",
            {
                "model": self._model,
                "revision": self._weights.revision,
                "dtype": str(self._pipeline.transformer.dtype).removeprefix("torch."),
                **recipe.shot.facts,
                "steps": recipe.steps,
                "scheduler": f"{type(self._pipeline.scheduler).__name__}, linear then quadratic",
                "guidance": recipe.guidance,
                "evaluations_per_step": 2 if recipe.is_guided else 1,
                **facts_of(params, recipe.is_guided),
                "max_prompt_tokens": params.max_prompt_tokens,
            },
        )

    def _call(self, params: Params, recipe: Recipe, prompt: str) -> dict[str, Any]:
        """Return what the pipeline is called with. Nothing of its that matters is left at its default."""
        texts = {"prompt": prompt}
        if recipe.is_guided:
            texts["negative_prompt"] = params.avoided
        return {
            **recipe.shot.call(),
            **self._filmer.read(self._prompts, texts, params.max_prompt_tokens),
            "num_inference_steps": recipe.steps,
            "guidance_scale": recipe.guidance,
        }
