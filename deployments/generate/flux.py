"""FLUX.1, dev and schnell: a picture from a prompt, or from a prompt and a picture to start from."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deployments.nets.held import Held
from deployments.nets.lora.policy import DEFAULT_BUDGET_BYTES, BudgetBytes, WayWanted
from serve_app.core.adapter import Adapters
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.media import Image
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.painter import Job

Variant = Literal["dev", "schnell"]


@dataclass(frozen=True)
class Traits:
    """What a variant was made for, by its model card."""

    steps: int
    guidance: float | None
    """Embedded guidance: a number that the transformer reads. None: it reads none."""
    prompt_tokens: int
    """What T5 is asked to read."""


TRAITS: Mapping[Variant, Traits] = {
    "dev": Traits(steps=28, guidance=3.5, prompt_tokens=512),
    "schnell": Traits(steps=4, guidance=None, prompt_tokens=256),
}


class Flux:
    """Generate with FLUX.1 through diffusers (`generate.flux`). The same seed gives the same bytes on one machine.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1; ``image``, of any size, repainted by ``strength``; ``adapters``,
    applied to this picture alone. Returns uint8 RGB ``(H, W, 3)`` of exactly the size asked for: made on the smallest
    multiple of 16 px that contains it, and cropped. One picture is made at a time: a second call waits. Notes ``flux``,
    the parameters in effect, and ``adapters``. Weights: huggingface.co/black-forest-labs.
    """

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps; with an image, strength of it",
        "guidance": "guidance_scale, which dev reads as an embedding; refused above 1 for schnell, which reads none",
        "true_cfg_scale": "true_cfg_scale; refused above 1 without negative_prompt, where diffusers would ignore it",
        "negative_prompt": "negative_prompt; a warning at true_cfg_scale 1, where it has no effect",
        "width": "width; made on a multiple of 16 and cropped",
        "height": "height; made on a multiple of 16 and cropped",
        "seed": "generator",
        "image": "image of FluxImg2ImgPipeline; covered and cropped, never stretched",
        "strength": "strength of FluxImg2ImgPipeline; refused without an image",
        "adapters": "no argument: layers of the transformer, changed for the run and then back to the bit",
        "max_prompt_tokens": "max_sequence_length; a warning says how many tokens are dropped",
    }

    class Weights(Held):
        """Which FLUX.1, and how it is held."""

        variant: Variant = Field("dev", description="Checked against the weights, which it decides how to sample.")
        adapters: WayWanted = "unfused"
        adapter_bytes: BudgetBytes = DEFAULT_BUDGET_BYTES

    class Params(Strict):
        """Sizes in px, at most 4096. What is left out is what the variant was made for."""

        width: int = Field(1024, ge=16, le=4096)
        height: int = Field(1024, ge=16, le=4096)
        steps: int | None = Field(None, ge=1, le=200, description="28 for dev, 4 for schnell.")
        guidance: float | None = Field(
            None, ge=0, le=30, description="Embedded in dev, 3.5; schnell has none: 0 and 1 say so, more is refused."
        )
        true_cfg_scale: float = Field(
            1.0, ge=1, le=30, description="Above 1: real guidance away from negative_prompt, at twice the cost."
        )
        negative_prompt: str | None = Field(None, description="Has an effect only with true_cfg_scale above 1.")
        strength: float | None = Field(
            None, gt=0, lt=1, description="How much of an image to repaint; 0.6 where there is one."
        )
        max_prompt_tokens: int | None = Field(
            None, ge=16, le=512, description="Of T5: 512 for dev, 256 for schnell. CLIP reads 77 whatever it is."
        )

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``true_cfg_scale`` where it has nothing to lead away from."""
        if params.true_cfg_scale > 1 and params.negative_prompt is None:
            raise InvalidInput("true_cfg_scale", "needs a negative_prompt to lead away from; it may be empty")

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from diffusers import FluxImg2ImgPipeline, FluxPipeline

        from deployments.nets import loading
        from deployments.nets.lora.rack import Rack
        from deployments.nets.painter import Painter
        from deployments.nets.warming import warm_up

        checkpoint = loading.Checkpoint.of(weights, context.device)
        family = loading.Family(
            name="FLUX.1",
            pipeline=FluxPipeline,
            text_encoders=("text_encoder", "text_encoder_2"),
            transformer="FluxTransformer2DModel",
        )
        pipeline = loading.read(family, checkpoint)
        found: Variant = "dev" if pipeline.transformer.config.guidance_embeds else "schnell"
        if found != weights.variant:
            raise Misconfigured("weights.variant", f"these are weights of {found}, not of {weights.variant}")
        self._painter = Painter("generate.flux", pipeline, FluxImg2ImgPipeline, context)
        self._painter.settle(checkpoint)
        self._rack = Rack.of("flux", pipeline, weights, context)
        self._weights, self._context, self._model = weights, context, checkpoint.name
        self._lock = threading.Lock()
        warm_up(self, weights)

    def run(
        self, params: Params, *, prompt: str, seed: int, image: Image | None = None, adapters: Adapters | None = None
    ) -> Image:
        """Return a picture of ``params.width`` x ``params.height`` px.

        Raise InvalidInput naming the field that would be ignored, BadAdapter, OutOfMemory, StageFailed when a number is
        not finite, and Cancelled after the step that was going on.
        """
        self.plan(params)
        job, call = self._job(params, seed, image), self._call(params, prompt)
        with self._lock, self._rack.wear(adapters):
            self._report(params, job, call)
            return self._painter.paint(job, call)

    def _job(self, params: Params, seed: int, image: Image | None) -> Job:
        from deployments.nets.painter import job_of

        steps = params.steps or TRAITS[self._weights.variant].steps
        return job_of((params.width, params.height), steps, seed, image, params.strength)

    def _call(self, params: Params, prompt: str) -> dict[str, Any]:
        """Return what the pipeline is called with. Nothing of its that matters is left at its default."""
        traits = TRAITS[self._weights.variant]
        limit = params.max_prompt_tokens or traits.prompt_tokens
        if limit > traits.prompt_tokens:
            raise InvalidInput("max_prompt_tokens", f"{self._weights.variant} reads at most {traits.prompt_tokens}")
        guidance = traits.guidance if params.guidance is None else params.guidance
        if traits.guidance is None and guidance is not None and guidance > 1:
            raise InvalidInput("guidance", f"{self._weights.variant} has no guidance to set; leave {guidance:g} out")
        return {
            "prompt": prompt,
            "guidance_scale": 0.0 if guidance is None or traits.guidance is None else guidance,
            "true_cfg_scale": params.true_cfg_scale,
            "negative_prompt": params.negative_prompt if params.true_cfg_scale > 1 else None,
            "max_sequence_length": limit,
        }

    def _report(self, params: Params, job: Job, call: dict[str, Any]) -> None:
        """Note what is in effect, and warn of what is not."""
        is_guided, variant = params.true_cfg_scale > 1, self._weights.variant
        if params.negative_prompt and not is_guided:
            self._context.warn("negative_prompt has no effect at true_cfg_scale 1")
        if is_guided and variant == "schnell":
            self._context.warn("schnell is made for true_cfg_scale 1; guidance costs twice as much")
        if variant == "schnell" and job.steps > TRAITS["schnell"].steps:
            self._context.warn(f"schnell is made for 1 to 4 steps, not for {job.steps}")
        for field in ("prompt", "negative_prompt"):
            if text := call[field]:
                self._count(field, text, call["max_sequence_length"])
        facts = {key: value for key, value in call.items() if key not in ("prompt", "negative_prompt")}
        if variant == "schnell":
            del facts["guidance_scale"]
        self._context.note(
            "flux",
            {
                "model": self._model,
                "variant": variant,
                **job.facts,
                **facts,
                "evaluations_per_step": 2 if is_guided else 1,
                "dtype": self._painter.dtype,
            },
        )

    def _count(self, field: str, text: str, limit: int) -> None:
        from deployments.nets.prompts import count_tokens, warn_of_dropped

        pipeline = self._painter.from_text
        clip = count_tokens(pipeline.tokenizer, text)
        warn_of_dropped(self._context, field, clip, pipeline.tokenizer.model_max_length, "CLIP (the overall style)")
        warn_of_dropped(self._context, field, count_tokens(pipeline.tokenizer_2, text), limit, "T5")
