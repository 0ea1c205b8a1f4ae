"""Qwen-Image, standard and Lightning: a picture from a prompt, or from a prompt and a picture to start from."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deployments.nets.guidance import check_guidance, is_guided
from deployments.nets.held import Held
from deployments.nets.lora.policy import DEFAULT_BUDGET_BYTES, BudgetBytes, WayWanted
from serve_app.core.adapter import Adapters
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.media import Image
from serve_app.core.source import HubFile, LocalPath, Sha256, Source, model_sources, named_file
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.painter import Job

_MERGED = "merged"
_FEW = 8
"""Steps that only Lightning makes a picture in; where standard stands in for it, they become the standard ones."""
_BLANK = " "
"""What guidance leads away from when nobody says: the pipeline does not guide at all without a negative prompt."""


@dataclass(frozen=True)
class Traits:
    """What the loaded weights were made for, by their model card."""

    name: Literal["standard", "lightning"]
    steps: int
    guidance: float


STANDARD = Traits("standard", steps=50, guidance=4.0)

Aspect = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]

SIZES: Mapping[Aspect, tuple[int, int]] = {
    "1:1": (1328, 1328),
    "16:9": (1664, 928),
    "9:16": (928, 1664),
    "4:3": (1472, 1104),
    "3:4": (1104, 1472),
    "3:2": (1584, 1056),
    "2:3": (1056, 1584),
}
"""Width and height in px that the model card gives for an aspect ratio."""


class QwenImage:
    """Generate with Qwen-Image through diffusers (`generate.qwen_image`). Same seed, same bytes on one machine.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1; ``image``, of any size, repainted by ``strength``; ``adapters``,
    applied to this picture alone. Returns uint8 RGB ``(H, W, 3)`` of exactly the size asked for: made on the smallest
    multiple of 16 px that contains it, and cropped. One picture is made at a time: a second call waits. Notes
    ``qwen_image``, the parameters in effect, and ``adapters``. Weights: huggingface.co/Qwen/Qwen-Image-2512;
    Lightning's, huggingface.co/lightx2v/Qwen-Image-Lightning.
    """

    mapping: Mapping[str, str] = {
        "steps": "num_inference_steps; with an image, strength of it",
        "guidance": "true_cfg_scale (guidance_scale is ignored by the pipeline and never passed); above 1 a negative "
        "prompt always goes with it, for without one the pipeline would not guide",
        "negative_prompt": "negative_prompt, ' ' unless given; a warning where guidance is off and it has no effect",
        "aspect_ratio": "width and height; refused beside either of them",
        "width": "width; made on a multiple of 16 and cropped",
        "height": "height; made on a multiple of 16 and cropped",
        "seed": "generator",
        "image": "image of QwenImageImg2ImgPipeline; covered and cropped, never stretched",
        "strength": "strength of QwenImageImg2ImgPipeline; refused without an image",
        "adapters": "no argument: layers of the transformer, changed for the run and then back to the bit",
        "max_prompt_tokens": "max_sequence_length; a warning says how many tokens are dropped",
        "allow_fallback": "no argument: whether standard weights may stand in where Lightning could not be loaded",
    }

    class Weights(Held):
        """Which Qwen-Image, and how it is held."""

        variant: Literal["standard", "lightning"] = Field("standard", description="`lightning`: 4 or 8 steps.")
        lightning: str | None = Field(
            None,
            description="Lightning's adapter: a file, `owner/name/file.safetensors` on the hub, or `merged` where "
            "``model`` holds it already.",
        )
        lightning_revision: str | None = Field(None, description="Of the adapter on the hub: a branch, tag or commit.")
        lightning_sha256: Sha256 | None = Field(None, description="Of the adapter: another file is refused.")
        lightning_steps: Literal[4, 8] = Field(4, description="Of the adapter: how many steps it was made for.")
        allow_fallback: bool = Field(
            False, description="Serve on without Lightning where its adapter is at fault; a request must allow it too."
        )
        adapters: WayWanted = "unfused"
        adapter_bytes: BudgetBytes = DEFAULT_BUDGET_BYTES

        @property
        def lightning_file(self) -> HubFile | LocalPath | None:
            """Where Lightning's adapter is; None where there is none, or the weights hold it."""
            if self.lightning in (None, _MERGED):
                return None
            return named_file(self.lightning or "", self.lightning_revision, self.lightning_sha256)

        def sources(self) -> tuple[Source, ...]:
            """Return the model, and Lightning's adapter."""
            return (*model_sources(self), *((self.lightning_file,) if self.lightning_file else ()))

    class Params(Strict):
        """Sizes in px, at most 4096. What is left out is what the loaded variant was made for."""

        aspect_ratio: Aspect | None = Field(None, description="The model card's size of that shape, about 1.7 Mpx.")
        width: int | None = Field(None, ge=16, le=4096, description="1328, or the aspect ratio's.")
        height: int | None = Field(None, ge=16, le=4096, description="1328, or the aspect ratio's.")
        steps: int | None = Field(None, ge=1, le=200, description="50; 4 or 8 for Lightning.")
        guidance: float | None = Field(None, ge=0, le=30, description="4, at twice the cost; 1 for Lightning: off.")
        negative_prompt: str | None = Field(None, description="Has an effect only with guidance above 1.")
        strength: float | None = Field(
            None, gt=0, lt=1, description="How much of an image to repaint; 0.6 where there is one."
        )
        max_prompt_tokens: int = Field(1024, ge=16, le=1024, description="What is read of the prompt.")
        allow_fallback: bool = Field(False, description="Take the standard way where Lightning could not be loaded.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``guidance`` between 0 and 1, or a size beside ``aspect_ratio``."""
        check_guidance(params.guidance)
        if params.aspect_ratio is not None and (params.width is not None or params.height is not None):
            raise InvalidInput("aspect_ratio", "decides width and height; give it alone, or them")

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory.

        With ``allow_fallback`` an adapter that is at fault leaves the standard weights as they are.
        """
        from diffusers import QwenImageImg2ImgPipeline, QwenImagePipeline

        from deployments.nets import loading
        from deployments.nets.lora.rack import Rack
        from deployments.nets.painter import Painter
        from deployments.nets.warming import warm_up

        if (weights.lightning is None) == (weights.variant == "lightning"):
            reason = "is needed for the variant lightning, and has no effect for standard"
            raise Misconfigured("weights.lightning", reason)
        checkpoint = loading.Checkpoint.of(weights, context.device)
        family = loading.Family(
            name="Qwen-Image",
            pipeline=QwenImagePipeline,
            text_tensors="language_model",  # a vision model of which only text is encoded
            transformer="QwenImageTransformer2DModel",
        )
        pipeline = loading.read(family, checkpoint)
        self._weights, self._context, self._model = weights, context, checkpoint.name
        self._traits, self._adapted = STANDARD, 0
        self._fault: Misconfigured | None = None  # why Lightning could not be loaded, where standard stands in
        if weights.lightning is not None:
            _check_lightning(weights)
            self._quicken(pipeline)
        self._painter = Painter("generate.qwen_image", pipeline, QwenImageImg2ImgPipeline, context)
        self._painter.settle(checkpoint)
        self._rack = Rack.of("qwen-image", pipeline, weights, context)
        self._lock = threading.Lock()
        warm_up(self, weights)

    def _quicken(self, pipeline: Any) -> None:
        from deployments.nets import lightning

        try:
            file = self._weights.lightning_file
            self._adapted = lightning.merge(pipeline.transformer, file, self._weights.lightning_sha256) if file else 0
        except Misconfigured as error:
            if not self._weights.allow_fallback:
                raise
            self._fault = Misconfigured(error.where, error.reason)  # without its trace, which holds the whole adapter
            return
        pipeline.scheduler = lightning.scheduler()
        self._traits = Traits("lightning", steps=self._weights.lightning_steps, guidance=1.0)

    def run(
        self, params: Params, *, prompt: str, seed: int, image: Image | None = None, adapters: Adapters | None = None
    ) -> Image:
        """Return a picture of the size that ``params`` ask for.

        Raise InvalidInput naming the field that would be ignored, BadAdapter, Misconfigured (``weights.lightning``)
        where standard stands in and ``params.allow_fallback`` is false, OutOfMemory, StageFailed when a number is not
        finite, and Cancelled after the step that was going on.
        """
        self.plan(params)
        if self._fault is not None and not params.allow_fallback:
            raise Misconfigured(
                self._fault.where, self._fault.reason
            )  # anew: one that is kept would grow by each trace
        job, call = self._job(params, seed, image), self._call(params, prompt)
        with self._lock, self._rack.wear(adapters):
            self._report(params, job, call)
            return self._painter.paint(job, call)

    def _job(self, params: Params, seed: int, image: Image | None) -> Job:
        from deployments.nets.painter import job_of

        steps = params.steps
        if steps is None or (self._fault is not None and steps <= _FEW):
            steps = self._traits.steps
        if steps == 1 and self._painter.from_text.scheduler.config.shift_terminal:
            raise InvalidInput("steps", "1 cannot both begin at full noise and end at the last level; the least is 2")
        return job_of(_size_of(params), steps, seed, image, params.strength)

    def _call(self, params: Params, prompt: str) -> dict[str, Any]:
        """Return what the pipeline is called with. Nothing of its that matters is left at its default."""
        guidance = params.guidance
        if guidance is None or (self._fault is not None and not is_guided(guidance)):
            guidance = self._traits.guidance
        negative = _BLANK if params.negative_prompt is None else params.negative_prompt
        return {
            "prompt": prompt,
            "true_cfg_scale": max(1.0, guidance),
            "negative_prompt": negative if is_guided(guidance) else None,
            "max_sequence_length": params.max_prompt_tokens,
        }

    def _report(self, params: Params, job: Job, call: dict[str, Any]) -> None:
        """Note what is in effect, and warn of what is not."""
        warn, guided = self._context.warn, is_guided(call["true_cfg_scale"])
        if self._fault is not None:
            was = f"{job.steps} steps, guidance {call['true_cfg_scale']:g}"
            warn(f"Lightning could not be loaded ({self._fault.reason}): standard stands in, with {was}")
        if params.negative_prompt and not guided:
            warn("negative_prompt has no effect at guidance 1")
        if self._traits.name == "lightning":
            if guided:
                warn(f"Lightning is made for guidance 1; {call['true_cfg_scale']:g} costs twice as much")
            if job.steps != self._traits.steps:
                warn(f"this Lightning is made for {self._traits.steps} steps, not for {job.steps}")
        for field in ("prompt", "negative_prompt"):
            if text := call[field]:
                self._count(field, text, params.max_prompt_tokens)
        facts = {key: value for key, value in call.items() if key != "prompt"}
        self._context.note("qwen_image", {**self._origin(), **job.facts, **facts, "evaluations_per_step": 1 + guided})

    def _origin(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"model": self._model, "variant": self._traits.name, "dtype": self._painter.dtype}
        if self._weights.lightning is not None:
            facts |= {"lightning": self._weights.lightning, "adapted_modules": self._adapted}
            facts |= {"fallback": self._fault is not None}
        return facts

    def _count(self, field: str, text: str, limit: int) -> None:
        from deployments.nets.prompts import count_tokens, warn_of_dropped

        pipeline = self._painter.from_text
        framed = count_tokens(pipeline.tokenizer, pipeline.prompt_template_encode.format(text))
        warn_of_dropped(self._context, field, framed - pipeline.prompt_template_encode_start_idx, limit, "Qwen")


def _size_of(params: QwenImage.Params) -> tuple[int, int]:
    """Return width and height in px."""
    if params.aspect_ratio is not None:
        return SIZES[params.aspect_ratio]
    width, height = SIZES["1:1"]
    return params.width or width, params.height or height


def _check_lightning(weights: QwenImage.Weights) -> None:
    """Raise Misconfigured for a revision or a digest that would be ignored."""
    if weights.lightning_revision is not None and not isinstance(weights.lightning_file, HubFile):
        raise Misconfigured("weights.lightning_revision", "only a file of the hub has one")
    if weights.lightning_sha256 is not None and weights.lightning_file is None:
        raise Misconfigured("weights.lightning_sha256", "there is no file to hold it against")
