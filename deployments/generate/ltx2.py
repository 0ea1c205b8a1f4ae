"""LTX-2: a clip with sound from a prompt, or from a prompt and pictures that it shows at some of its frames."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from deployments.nets.early_abort import EARLY_ABORT, EarlyAbort, check_early_abort
from deployments.nets.framing import fit_sound
from deployments.nets.held import Held
from deployments.nets.lora.policy import DEFAULT_BUDGET_BYTES, BudgetBytes, WayWanted
from deployments.nets.ltx2_given import (
    DEFAULT_TOKENS,
    Given,
    check_params,
    check_wires,
    given_of,
    said_of,
    warn_where_unread,
)
from deployments.nets.ltx2_keyframes import (
    KEYFRAMES,
    PORTS,
    Keyframe,
    KeyframeParams,
    check_keyframes,
    keyframes_of,
    needed_ports,
)
from deployments.nets.ltx2_sampling import (
    PUBLISHED_STEPS,
    TRAITS,
    Version,
    check_stg_blocks,
    guidance_of,
    is_trained_fps,
    sigmas_of,
)
from deployments.nets.ltx2_takes import GRID, Recipe, Take, check_two_stages, grid_of, takes_of
from deployments.nets.negatives import MAPPING, Negatives
from serve_app.core.adapter import Adapters
from serve_app.core.conditioning import Conditioning
from serve_app.core.errors import InvalidInput, OutOfMemory
from serve_app.core.media import Clip, Image, VideoShape, centre_crop, exact_fps
from serve_app.core.source import Source, model_sources, part_sources
from serve_app.core.stage import Context
from serve_app.core.streaming import joined

if TYPE_CHECKING:
    import torch

    from deployments.nets.ltx2_prompts import Encoded
    from deployments.nets.progress import OnStep

_SOUND_LATENTS_PER_S = 25
_PROMPT_BLOCK = 128
_LARGEST_SEED = 2**63 - 1


class Ltx2:
    """Generate with LTX-2 (2.0, 2.3, 2.5) through diffusers. The same seed gives the same bytes on the same machine.

    Ports: ``prompt``, or ``conditioning`` where the weights have no text encoder, for which negatives are encoded with
    the prompt; ``seed``, 0 to 2**63 - 1; ``image``, ``middle_image`` and ``last_image``, of any size, shown as
    the first frame, one between, and the last; ``adapters``, applied to this clip alone. Returns ``frames`` uint8
    ``(T, H, W, 3)`` at exactly the size asked for, and stereo sound of exactly their length. One clip is made at a
    time: a second call waits. Notes ``ltx2``, the parameters in effect, and ``adapters``. Weights:
    huggingface.co/Lightricks.
    """

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps and sigmas: the published list, for a scheduler that does not warp it",
        "guidance": "guidance_scale and seven more knobs; 1 turns all eight off, above 1 they are the authors'",
        "negative_prompt": "negative_prompt; a warning at guidance 1, where it has no effect",
        "negatives": MAPPING,
        "width": "width; made on a multiple of 32 (64 with 2 stages) and cropped",
        "height": "height; made on a multiple of 32 (64 with 2 stages) and cropped",
        "frames": "num_frames, 8k+1; others are refused, where diffusers drops the rest without a word",
        "fps": "frame_rate, which the model is told; a warning far from 24, 25, 30 and 60",
        "seed": "generator",
        "image": "image of LTX2ImageToVideoPipeline; covered and cropped, never stretched",
        **KEYFRAMES,
        "stages": "2: at half size, LTX2LatentUpsamplerModel, and 3 steps at full size with noise_scale 0.909375",
        "adapters": "no argument: layers of transformer and connectors, changed for the run and then back to the bit",
        "strength": "none: unknown, so an error; a picture has image_strength, which means the opposite",
        "conditioning": "prompt_embeds and what the connectors make of them: a prompt that another deployment encoded",
        "max_prompt_tokens": "max_sequence_length, a multiple of 128; a warning says how many tokens are dropped",
        **EARLY_ABORT,
    }

    class Weights(Held):
        """Which LTX-2, and how it is held."""

        version: Version = Field("2.0", description="Checked against the weights, which it decides how to sample.")
        distilled: bool = Field(True, description="Made for few steps at guidance 1, or with such an adapter fused.")
        decode: Literal["full", "chunks"] = Field(
            "full", description="`chunks`: 80 frames at a time, cross-faded, so that memory does not grow with time."
        )
        prompt_cache_entries: int = Field(16, ge=0, description="Prompts kept encoded, of 15 MiB each; 0 keeps none.")
        adapters: WayWanted = "unfused"
        adapter_bytes: BudgetBytes = DEFAULT_BUDGET_BYTES
        text_encoder: Literal["own", "none"] = Field(
            "own", description="`none`: it is not loaded, and prompts come encoded, from `adapt.ltx2_prompt`."
        )
        stg_blocks: tuple[int, ...] | None = Field(None, description="Blocks that guidance perturbs; the version's.")
        latent_upsampler: str | None = Field(
            None, description="For 2 stages: a directory, or a hub id that has it as `latent_upsampler`."
        )
        latent_upsampler_revision: str | None = Field(None, description="Of its hub id: a branch, tag or commit.")

        def sources(self) -> tuple[Source, ...]:
            """Return where the weights are to be had."""
            place, revision = self.latent_upsampler, self.latent_upsampler_revision
            return (*model_sources(self), *part_sources(place, "latent_upsampler", revision))

    class Params(EarlyAbort, KeyframeParams, Negatives):
        """Sizes in px, at most 4096; ``frames`` 8k+1; ``fps`` in Hz, which the model is told (29.97: 30000/1001)."""

        width: int = Field(1280, ge=32, le=4096)
        height: int = Field(720, ge=32, le=4096)
        frames: int = Field(97, ge=1, le=1201)
        fps: float | str = Field(24.0, description="Trained near 24, 25, 30 and 60.")
        steps: int = Field(10, ge=1, le=200, description="8 or 10 for distilled weights; 30 to 40 for others.")
        guidance: float = Field(
            1.0, ge=1.0, le=30.0, description="1 is off; 3 is usual where weights are not distilled."
        )
        stages: Literal[1, 2] = Field(
            1, description="2: `steps` at half the size, and three more at full size: the authors' two-stage recipe."
        )
        max_prompt_tokens: int = Field(DEFAULT_TOKENS, ge=128, le=1024, description="A multiple of 128.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``fps``, ``frames`` (not 8k+1, or too short for sound) or another at fault."""
        fps = exact_fps(params.fps)
        GRID.check_frames(params.frames)
        # Fewer sound latents than one cannot be denoised; half of one rounds to none.
        if params.frames / fps * _SOUND_LATENTS_PER_S <= Fraction(1, 2):
            raise InvalidInput("frames", f"{params.frames} at {float(fps):g} fps is under 0.02 s, too short for sound")
        if params.max_prompt_tokens % _PROMPT_BLOCK:
            reason = f"{params.max_prompt_tokens} is not a multiple of {_PROMPT_BLOCK}"
            raise InvalidInput("max_prompt_tokens", reason)
        check_keyframes(params, params.frames)
        check_early_abort(params)

    @staticmethod
    def fits(params: Params, weights: Weights) -> None:
        """Raise Misconfigured where the weights cannot do two stages: no upsampler, or not distilled."""
        if params.stages == 2:
            check_two_stages(weights.latent_upsampler, weights.distilled)

    @staticmethod
    def wired(weights: Weights, ports: frozenset[str]) -> None:
        """Raise InvalidInput naming ``prompt`` or ``conditioning``: the weights take the one or the other."""
        check_wires(weights.text_encoder, ports)

    @staticmethod
    def requires(params: Params) -> tuple[str, ...]:
        """Return the ports whose strength or frame is given."""
        return needed_ports(params)

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from deployments.nets import loading, ltx2, ltx2_texts
        from deployments.nets.lora.rack import Rack
        from deployments.nets.ltx2_prompts import PromptCache
        from deployments.nets.warming import PROMPTS, warm_up

        checkpoint = ltx2.Checkpoint(
            **vars(loading.Checkpoint.of(weights, context.device)),
            version=weights.version,
            has_texts=weights.text_encoder == "own",
            is_chunked=weights.decode == "chunks",
            upsampler=weights.latent_upsampler,
            upsampler_revision=weights.latent_upsampler_revision,
        )
        self._pipelines = ltx2.load(checkpoint)
        self._stg_blocks = weights.stg_blocks or TRAITS[weights.version].stg_blocks
        if weights.stg_blocks is not None or not weights.distilled:
            check_stg_blocks(self._stg_blocks, self._pipelines.layers)
        self._prompts = PromptCache(self._pipelines.encoder, weights.prompt_cache_entries)
        self._encoder = None if checkpoint.has_texts else ltx2_texts.identity_of(checkpoint, weights.version)
        self._held = loading.facts_of(self._pipelines.encoder, checkpoint)
        self._rack = Rack.of("ltx2", self._pipelines.encoder, weights, context)
        self._weights, self._context, self._model = weights, context, checkpoint.name
        self._lock = threading.Lock()
        texts: Sequence[Mapping[str, Any]] = PROMPTS
        if self._encoder is not None:
            transformer = self._pipelines.encoder.transformer
            texts = ({"conditioning": ltx2_texts.blank(transformer, self._encoder, DEFAULT_TOKENS)},)
        warm_up(self, weights, images=(False, True), texts=texts)

    def run(
        self,
        params: Params,
        *,
        seed: int,
        prompt: str | None = None,
        conditioning: Conditioning | None = None,
        image: Image | None = None,
        middle_image: Image | None = None,
        last_image: Image | None = None,
        adapters: Adapters | None = None,
    ) -> Clip:
        """Return ``params.frames`` frames of ``params.width`` x ``params.height`` px with stereo sound.

        Raise InvalidInput naming the field, BadAdapter, Misconfigured (``stg_blocks`` beyond the weights), OutOfMemory,
        StageFailed when a number is not finite, and Cancelled after the step that was going on.
        """
        pieces = self.stream(
            params,
            seed=seed,
            prompt=prompt,
            conditioning=conditioning,
            image=image,
            middle_image=middle_image,
            last_image=last_image,
            adapters=adapters,
        )
        return joined(list(pieces))

    @staticmethod
    def length(params: Params) -> int:
        """Return the number of frames that ``stream`` yields."""
        return params.frames

    def stream(
        self,
        params: Params,
        *,
        seed: int,
        prompt: str | None = None,
        conditioning: Conditioning | None = None,
        image: Image | None = None,
        middle_image: Image | None = None,
        last_image: Image | None = None,
        adapters: Adapters | None = None,
    ) -> Iterator[Clip]:
        """Yield the clip of ``run``: with `decode: chunks` as it is decoded, else in one piece."""
        import torch

        self.plan(params)
        self.fits(params, self._weights)
        given = given_of(self._weights.text_encoder, prompt, conditioning)
        check_params(params, given)
        pictures = dict(zip(PORTS, (image, middle_image, last_image), strict=True))
        keyframes = keyframes_of(params, params.frames, pictures)
        if not 0 <= seed <= _LARGEST_SEED:
            raise InvalidInput("seed", f"{seed} is not 0 to {_LARGEST_SEED}")
        with self._lock:
            recipe = self._recipe(params, keyframes)
            self._report(params, recipe, given)
            torch.set_num_threads(self._context.threads)
            try:
                self._context.check()
                with self._rack.wear(adapters) as outfit:
                    encoded = self._encode(params, recipe, given, outfit.state_of("connectors"))
                    yield from self._render(recipe, seed, encoded)
            except torch.OutOfMemoryError as error:
                raise OutOfMemory(f"a clip of {recipe.native}", self._context.device) from error
            finally:
                self._pipelines.rest()

    def _recipe(self, params: Params, keyframes: tuple[Keyframe, ...]) -> Recipe:
        asked = VideoShape(frames=params.frames, height=params.height, width=params.width)
        native, guidance = grid_of(params.stages).cover(asked), guidance_of(params.guidance)
        sigmas = sigmas_of(params.steps, self._weights.distilled)
        return Recipe(
            asked=asked,
            native=native,
            fps=exact_fps(params.fps),
            takes=takes_of(native, sigmas, guidance, params.stages),
            guidance=guidance,
            keyframes=keyframes,
            abort_from=params.abort_from,
        )

    def _report(self, params: Params, recipe: Recipe, given: Given) -> None:
        """Note what is in effect, and warn of what is not. Raise Misconfigured where guidance could not work."""
        warn, is_distilled = self._context.warn, self._weights.distilled
        warn_where_unread(params, given, not recipe.guidance.is_off, warn)
        if not recipe.guidance.is_off:
            check_stg_blocks(self._stg_blocks, self._pipelines.layers)
            if is_distilled:
                times = recipe.guidance.evaluations
                warn(f"distilled weights are made for guidance 1; {params.guidance:g} costs {times} times as much")
        if is_distilled and params.steps not in PUBLISHED_STEPS:
            warn(f"{params.steps} steps are off the schedule of distilled weights, which is 8 (or 10)")
        if not is_trained_fps(recipe.fps):
            warn(f"LTX-2 was trained near 24, 25, 30 and 60 fps; {float(recipe.fps):g} changes how it moves")
        self._context.note("held", self._held)
        self._context.note("ltx2", {**self._facts(recipe), **said_of(params, given, not recipe.guidance.is_off)})

    def _facts(self, recipe: Recipe) -> dict[str, Any]:
        traits = TRAITS[self._weights.version]
        return {
            "model": self._model,
            "revision": self._weights.revision,
            "version": self._weights.version,
            "distilled": self._weights.distilled,
            "dtype": str(self._pipelines.dtype).removeprefix("torch."),
            **recipe.facts,
            "latent_upsampler": self._weights.latent_upsampler if len(recipe.takes) == 2 else None,
            "scheduler": "FlowMatchEulerDiscreteScheduler, static",
            "stg_blocks": [] if recipe.guidance.is_off else list(self._stg_blocks),
            "use_cross_timestep": traits.uses_cross_timestep,
            "image_crf": traits.image_crf,
            "sound_rate": self._pipelines.sound_rate,
            "decode": self._weights.decode,
        }

    def _encode(self, params: Params, recipe: Recipe, given: Given, state: str) -> tuple[Encoded, ...]:
        """Return the prompts in the order of the pipeline's batch: the negative one first, if there is guidance.

        ``state`` tells what adapters the connectors wear.
        """
        if not isinstance(given, str):
            from deployments.nets.ltx2_texts import Wanted, unpack

            assert self._encoder is not None  # `given_of` takes an encoded prompt where there is no encoder
            tokens = given.tokens if params.max_prompt_tokens == DEFAULT_TOKENS else params.max_prompt_tokens
            return unpack(given, Wanted(self._encoder, not recipe.guidance.is_off, tokens))
        texts = {"prompt": given}
        if not recipe.guidance.is_off:
            texts = {"negative_prompt": params.avoided, **texts}
        encoded = []
        for field, text in texts.items():
            one, _ = self._prompts.get(text, params.max_prompt_tokens, state)
            if one.dropped:
                limit = params.max_prompt_tokens
                self._context.warn(f"the last {one.dropped} tokens of {field} are beyond the limit of {limit}: dropped")
            encoded.append(one)
            self._context.check()
        return tuple(encoded)

    def _render(self, recipe: Recipe, seed: int, encoded: tuple[Encoded, ...]) -> Iterator[Clip]:
        """Make every take and decode the last; one generator draws the noise of all of them."""
        import torch

        from deployments.nets.ltx2 import Shot
        from deployments.nets.ltx2_output import sound_of

        generator, begun = torch.Generator("cpu").manual_seed(seed), None
        crf = TRAITS[self._weights.version].image_crf
        for take in recipe.takes:
            held = encoded[-1:] if take.guidance.is_off else encoded
            self._pipelines.prompt.hold(held, self._pipelines.device)
            made = self._pipelines.make(Shot.of(recipe, take, begun, crf), self._call(recipe, take, generator))
            begun = None if take.is_last else self._pipelines.enlarge(made)
            self._context.check()
        sound = fit_sound(sound_of(made.audio), self._pipelines.sound_rate, recipe.asked.frames, recipe.fps)
        for index, part in enumerate([made.frames] if isinstance(made.frames, np.ndarray) else made.frames):
            self._context.check()
            frames = np.ascontiguousarray(centre_crop(part[0], recipe.asked.height, recipe.asked.width))
            yield Clip(frames, recipe.fps, self._model, sound if index == 0 else None)

    def _call(self, recipe: Recipe, take: Take, generator: torch.Generator) -> dict[str, Any]:
        """Return what all pipelines are called with. Nothing of theirs that matters is left at its default."""
        import torch

        # The pipelines want to see embeddings; what they use of them is the batch and the dtype (see HeldPrompt).
        blank = torch.zeros(1, 1, 1, dtype=self._pipelines.dtype, device=self._pipelines.device)
        mask = torch.ones(1, 1, dtype=torch.int64, device=self._pipelines.device)
        return {
            "prompt_embeds": blank,
            "prompt_attention_mask": mask,
            "negative_prompt_embeds": blank,
            "negative_prompt_attention_mask": mask,
            "width": take.native.width,
            "height": take.native.height,
            "num_frames": take.native.frames,
            "frame_rate": float(recipe.fps),
            "num_inference_steps": len(take.sigmas),
            "sigmas": list(take.sigmas),
            **asdict(take.guidance),
            "spatio_temporal_guidance_blocks": list(self._stg_blocks),
            "use_cross_timestep": TRAITS[self._weights.version].uses_cross_timestep,
            "generator": generator,
            "output_type": "np" if take.is_last else "latent",
            "callback_on_step_end": self._on_step(recipe, take),
        }

    def _on_step(self, recipe: Recipe, take: Take) -> OnStep:
        from deployments.nets.outlook import Outlook, look_of
        from deployments.nets.progress import Span, on_step

        has_picture = any(keyframe.is_held for keyframe in recipe.keyframes)
        look = look_of(recipe.abort_from, GRID, take.native, has_picture)
        outlook = None if look is None else Outlook(look, take.before)
        return on_step(self._context, "generate.ltx2", outlook, Span(take.before, recipe.steps))
