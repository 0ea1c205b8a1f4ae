"""LTX-Video: a clip from a prompt, or from a prompt and its first frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deployments.nets.early_abort import EARLY_ABORT, EarlyAbort, check_early_abort
from deployments.nets.held import Held
from deployments.nets.lora.policy import DEFAULT_BUDGET_BYTES, BudgetBytes, WayWanted
from deployments.nets.negatives import MAPPING, Negatives, facts_of, warn_where_inert
from serve_app.core.adapter import Adapters
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Grid, Image, VideoShape, exact_fps
from serve_app.core.stage import Context

if TYPE_CHECKING:
    from deployments.nets.filming import Shot
    from deployments.nets.ltx_video import DecodeNoise

GRID = Grid(spatial=32, temporal=8)
"""What its autoencoder can make: sizes in multiples of 32 px, 8k+1 frames."""

_TRAINED_FPS = (24, 25, 30)


@dataclass(frozen=True)
class Recipe:
    """Everything about a clip that is decided before its prompt is read."""

    shot: Shot
    steps: int
    guidance: float
    noise: DecodeNoise | None

    @property
    def is_guided(self) -> bool:
        """Whether a step is an evaluation of a batch of two."""
        return self.guidance > 1


class LtxVideo:
    """Generate with LTX-Video (0.9 to 0.9.8) through diffusers. The same seed gives the same bytes on one machine.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1; ``image``, of any size, shown as the first frame; ``adapters``, applied
    to this clip alone. Returns ``frames`` uint8 ``(T, H, W, 3)`` of exactly the size asked for: made on the smallest
    multiple of 32 px that contains it, and cropped. No sound. One clip is made at a time: a second call waits. Notes
    ``ltx_video``, the parameters in effect, and ``adapters``. Weights: huggingface.co/Lightricks.
    """

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps; 1 is refused, where diffusers fails with an IndexError; 7 or 8 of distilled "
        "weights are at the authors' noise levels",
        "guidance": "guidance_scale; 1 is off",
        "negative_prompt": "negative_prompt; a warning at guidance 1, where it has no effect",
        "negatives": MAPPING,
        "width": "width; made on a multiple of 32 and cropped",
        "height": "height; made on a multiple of 32 and cropped",
        "frames": "num_frames, 8k+1; others are refused, where diffusers drops the rest without a word",
        "fps": "frame_rate, which the model is told; a warning far from 24, 25 and 30",
        "seed": "generator, also of the noise that decoders of 0.9.1 and later draw",
        "image": "image of LTXImageToVideoPipeline; covered and cropped, never stretched",
        "adapters": "no argument: layers of the transformer, changed for the run and then back to the bit",
        "strength": "none: unknown, so an error",
        "decode_timestep": "decode_timestep; refused where the autoencoder reads none (0.9)",
        "decode_noise_scale": "decode_noise_scale; refused where the autoencoder reads none (0.9)",
        "max_prompt_tokens": "max_sequence_length; a warning says how many tokens are dropped",
        **EARLY_ABORT,
    }

    class Weights(Held):
        """Which LTX-Video, and how it is held."""

        distilled: bool = Field(False, description="Made for few steps at guidance 1.")
        decode: Literal["full", "chunks"] = Field(
            "full", description="`chunks`: 80 frames at a time, cross-faded, so that memory does not grow with time."
        )
        prompt_cache_entries: int = Field(16, ge=0, description="Prompts kept encoded, of 1 MiB each; 0 keeps none.")
        adapters: WayWanted = "unfused"
        adapter_bytes: BudgetBytes = DEFAULT_BUDGET_BYTES

    class Params(EarlyAbort, Negatives):
        """Sizes in px, at most 4096; ``frames`` 8k+1; ``fps`` in Hz, which the model is told (29.97: 30000/1001)."""

        width: int = Field(1280, ge=32, le=4096)
        height: int = Field(720, ge=32, le=4096)
        frames: int = Field(97, ge=1, le=1201)
        fps: float | str = Field(25.0, description="Trained near 24, 25 and 30.")
        steps: int | None = Field(None, ge=1, le=200, description="2 or more; 50, or 8 for distilled weights.")
        guidance: float | None = Field(None, ge=1, le=30, description="1 is off; 3, or 1 for distilled weights.")
        decode_timestep: float | None = Field(
            None, ge=0, le=1, description="How noisy the decoder is told that latents are: 0.05."
        )
        decode_noise_scale: float | None = Field(
            None, ge=0, le=1, description="How much noise is mixed into what is decoded: 0.025."
        )
        max_prompt_tokens: int = Field(128, ge=16, le=512, description="That T5 reads.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``fps``, ``frames`` (not 8k+1) or ``steps`` (one)."""
        exact_fps(params.fps)
        GRID.check_frames(params.frames)
        if params.steps == 1:
            raise InvalidInput("steps", "1 cannot both begin at full noise and end at the last level; the least is 2")
        check_early_abort(params)

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from deployments.nets import loading, ltx_video
        from deployments.nets.filming import Filmer
        from deployments.nets.lora.rack import Rack
        from deployments.nets.t5_prompts import T5Prompts
        from deployments.nets.warming import warm_up

        checkpoint = loading.Checkpoint.of(weights, context.device)
        self._pipelines = ltx_video.load(checkpoint)
        facts = loading.facts_of(self._pipelines.encoder, checkpoint)
        self._filmer = Filmer("generate.ltx_video", self._pipelines.encoder, self._pipelines.makers, context, facts)
        self._rack = Rack.of("ltx-video", self._pipelines.encoder, weights, context)
        self._prompts = T5Prompts(self._pipelines.encoder, weights.prompt_cache_entries)
        self._weights, self._context, self._model = weights, context, checkpoint.name
        warm_up(self, weights, images=(False, True))

    def run(
        self, params: Params, *, prompt: str, seed: int, image: Image | None = None, adapters: Adapters | None = None
    ) -> Clip:
        """Return ``params.frames`` frames of ``params.width`` x ``params.height`` px, without sound.

        Raise InvalidInput naming the field that is not legal or would be ignored, BadAdapter, OutOfMemory, StageFailed
        when a number is not finite, and Cancelled after the step or the chunk that was going on.
        """
        from deployments.nets.ltx_video import Ending, decode
        from deployments.nets.outlook import look_of

        self.plan(params)
        recipe = self._recipe(params, seed)
        shot = recipe.shot
        with self._filmer.turn(f"a clip of {shot.native}"), self._rack.wear(adapters):
            self._report(params, recipe, image is not None)
            call = self._call(params, recipe, prompt)
            if image is not None:
                call["image"] = shot.start(image)
            maker = self._pipelines.from_text if image is None else self._pipelines.from_image
            maker.scheduler = self._scheduler(recipe.steps)
            look = look_of(params.abort_from, GRID, shot.native, image is not None)
            latents = self._filmer.denoise(maker, call, look)
            self._pipelines.own_noise.seed = seed
            ending = Ending(latents, shot.native, call["generator"], recipe.noise)
            chunks = decode(self._pipelines, ending, self._weights.decode == "chunks")
            return shot.clip(self._filmer.develop(chunks, shot.native), self._model)

    def _recipe(self, params: Params, seed: int) -> Recipe:
        from deployments.nets.filming import Shot

        is_distilled = self._weights.distilled
        asked = VideoShape(frames=params.frames, height=params.height, width=params.width)
        return Recipe(
            shot=Shot.of(asked, GRID, exact_fps(params.fps), seed),
            steps=params.steps or (8 if is_distilled else 50),
            guidance=params.guidance or (1.0 if is_distilled else 3.0),
            noise=self._noise(params),
        )

    def _scheduler(self, steps: int) -> Any:
        from deployments.nets.ltx_video_schedule import schedule_for

        published = self._pipelines.encoder.scheduler
        return schedule_for(published, steps) if self._weights.distilled else published

    def _noise(self, params: Params) -> DecodeNoise | None:
        from deployments.nets.ltx_video import DecodeNoise

        given = {"decode_timestep": params.decode_timestep, "decode_noise_scale": params.decode_noise_scale}
        if self._pipelines.reads_timestep:
            timestep, scale = given.values()
            return DecodeNoise(0.05 if timestep is None else timestep, 0.025 if scale is None else scale)
        for name, value in given.items():
            if value is not None:
                raise InvalidInput(name, "the autoencoder of these weights reads none, so it would have no effect")
        return None

    def _report(self, params: Params, recipe: Recipe, has_image: bool) -> None:
        """Note what is in effect, and warn of what is not."""
        warn, fps = self._context.warn, recipe.shot.fps
        warn_where_inert(params, recipe.is_guided, warn)
        if self._weights.distilled and recipe.is_guided:
            warn(f"distilled weights are made for guidance 1; {recipe.guidance:g} costs twice as much")
        if self._weights.distilled and recipe.steps not in (7, 8):
            warn(f"distilled weights are made for 8 steps (or 7) at levels of their own, not for {recipe.steps}")
        if all(abs(fps - rate) >= Fraction(1, 10) for rate in _TRAINED_FPS):
            warn(f"LTX-Video was trained near 24, 25 and 30 fps; {float(fps):g} changes how it moves")
        read = {
            "has_image": has_image,
            **facts_of(params, recipe.is_guided),
            "max_prompt_tokens": params.max_prompt_tokens,
        }
        self._context.note("ltx_video", {**self._facts(recipe), **read})

    def _facts(self, recipe: Recipe) -> dict[str, Any]:
        scheduler = self._scheduler(recipe.steps)
        return {
            "model": self._model,
            "revision": self._weights.revision,
            "distilled": self._weights.distilled,
            "dtype": str(self._pipelines.encoder.transformer.dtype).removeprefix("torch."),
            **recipe.shot.facts,
            "steps": recipe.steps,
            "scheduler": type(scheduler).__name__,
            "use_dynamic_shifting": scheduler.config.use_dynamic_shifting,
            "shift_terminal": scheduler.config.shift_terminal,
            "guidance": recipe.guidance,
            "evaluations_per_step": 2 if recipe.is_guided else 1,
            "decode_timestep": None if recipe.noise is None else recipe.noise.timestep,
            "decode_noise_scale": None if recipe.noise is None else recipe.noise.scale,
            "decode": self._weights.decode,
        }

    def _call(self, params: Params, recipe: Recipe, prompt: str) -> dict[str, Any]:
        """Return what both pipelines are called with. Nothing of theirs that matters is left at its default."""
        texts = {"prompt": prompt}
        if recipe.is_guided:
            texts["negative_prompt"] = params.avoided
        return {
            **recipe.shot.call(),
            **self._filmer.read(self._prompts, texts, params.max_prompt_tokens),
            "frame_rate": float(recipe.shot.fps),
            "num_inference_steps": recipe.steps,
            "guidance_scale": recipe.guidance,
            "guidance_rescale": 0.0,
        }
