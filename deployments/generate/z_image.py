"""Z-Image Turbo: a picture from a prompt, or from a prompt and a picture to start from, in four or eight steps."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from deployments.nets.guidance import check_guidance, is_guided
from deployments.nets.held import Held
from deployments.nets.lora.policy import DEFAULT_BUDGET_BYTES, BudgetBytes, WayWanted
from serve_app.core.adapter import Adapters
from serve_app.core.errors import Misconfigured
from serve_app.core.media import Image
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.painter import Job

Preset = Literal["simple", "danrisi"]

PRESET_STEPS: Mapping[Preset, int] = {"simple": 4, "danrisi": 8}
"""Both are unguided; 8 is what the model card gives."""

_PADDING = ("x_pad_token", "cap_pad_token")
"""Parameters that fill sequences up to multiples of 32: conversions that forgot them left whatever was in memory."""


class ZImage:
    """Generate with Z-Image Turbo through diffusers (`generate.z_image`). Same seed, same bytes on one machine.

    Ports: ``prompt``; ``seed``, 0 to 2**63 - 1; ``image``, of any size, repainted by ``strength``; ``adapters``,
    applied to this picture alone. Returns uint8 RGB ``(H, W, 3)`` of exactly the size asked for: made on the smallest
    multiple of 16 px that contains it, and cropped. One picture is made at a time: a second call waits. Notes
    ``z_image``, the parameters in effect, and ``adapters``. Weights: huggingface.co/Tongyi-MAI/Z-Image-Turbo.
    """

    mapping: Mapping[str, str] = {
        "preset": "no argument: how many steps where steps is left out",
        "steps": "num_inference_steps; with an image, strength of it",
        "guidance": "guidance_scale, less 1: the pipeline's 0 is off and its 1 is already guidance 2",
        "negative_prompt": "negative_prompt; a warning where guidance is off and it has no effect",
        "width": "width; made on a multiple of 16 and cropped",
        "height": "height; made on a multiple of 16 and cropped",
        "seed": "generator",
        "image": "image of ZImageImg2ImgPipeline; covered and cropped, never stretched",
        "strength": "strength of ZImageImg2ImgPipeline; refused without an image",
        "adapters": "no argument: layers of the transformer, changed for the run and then back to the bit",
        "max_prompt_tokens": "max_sequence_length; a warning says how many tokens are dropped",
    }

    class Weights(Held):
        """Which Z-Image, and how it is held."""

        adapters: WayWanted = "unfused"
        adapter_bytes: BudgetBytes = DEFAULT_BUDGET_BYTES

    class Params(Strict):
        """Sizes in px, at most 4096."""

        width: int = Field(1024, ge=16, le=4096)
        height: int = Field(1024, ge=16, le=4096)
        preset: Preset = Field("danrisi", description="`simple`: 4 steps, `danrisi`: 8; unless steps are given.")
        steps: int | None = Field(None, ge=1, le=200, description="The preset's.")
        guidance: float = Field(
            1.0, ge=0, le=30, description="1 is off; Turbo is made for that. Above 1 a step costs twice as much."
        )
        negative_prompt: str | None = Field(None, description="Has an effect only with guidance above 1.")
        strength: float | None = Field(
            None, gt=0, lt=1, description="How much of an image to repaint; 0.6 where there is one."
        )
        max_prompt_tokens: int = Field(512, ge=32, le=1024, description="What is read of the prompt and its frame.")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``guidance`` between 0 and 1."""
        check_guidance(params.guidance)

    def load(self, weights: Weights, context: Context) -> None:
        """Load the weights. Raise Misconfigured naming the field of ``weights`` at fault, OutOfMemory."""
        from diffusers import ZImageImg2ImgPipeline, ZImagePipeline

        from deployments.nets import loading
        from deployments.nets.lora.rack import Rack
        from deployments.nets.painter import Painter
        from deployments.nets.warming import warm_up

        checkpoint = loading.Checkpoint.of(weights, context.device)
        family = loading.Family(name="Z-Image", pipeline=ZImagePipeline, transformer="ZImageTransformer2DModel")
        pipeline = loading.read(family, checkpoint)
        _check_padding(pipeline.transformer)
        self._painter = Painter("generate.z_image", pipeline, ZImageImg2ImgPipeline, context)
        self._painter.settle(checkpoint)
        self._rack = Rack.of("z-image", pipeline, weights, context)
        self._context, self._model = context, checkpoint.name
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

        steps = params.steps or PRESET_STEPS[params.preset]
        return job_of((params.width, params.height), steps, seed, image, params.strength)

    def _call(self, params: Params, prompt: str) -> dict[str, Any]:
        """Return what the pipeline is called with. Nothing of its that matters is left at its default."""
        guided = is_guided(params.guidance)
        return {
            "prompt": prompt,  # never a list: the pipeline would write its chat template into it
            "guidance_scale": params.guidance - 1 if guided else 0.0,
            "negative_prompt": (params.negative_prompt or "") if guided else None,
            "cfg_normalization": False,
            "cfg_truncation": 1.0,
            "max_sequence_length": params.max_prompt_tokens,
        }

    def _report(self, params: Params, job: Job, call: dict[str, Any]) -> None:
        """Note what is in effect, and warn of what is not."""
        guided = is_guided(params.guidance)
        if params.negative_prompt and not guided:
            self._context.warn("negative_prompt has no effect at guidance 1")
        if guided:
            self._context.warn(f"Turbo is made for guidance 1; {params.guidance:g} costs twice as much")
        for field in ("prompt", "negative_prompt"):
            if text := call[field]:
                self._count(field, text, params.max_prompt_tokens)
        facts = {key: value for key, value in call.items() if key != "prompt"}
        note = {"model": self._model, "preset": params.preset, **job.facts, "guidance": params.guidance, **facts}
        note |= {"evaluations_per_step": 1 + guided, "dtype": self._painter.dtype}
        self._context.note("z_image", note)

    def _count(self, field: str, text: str, limit: int) -> None:
        from deployments.nets.prompts import count_tokens, warn_of_dropped

        tokenizer = self._painter.from_text.tokenizer
        framed = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        warn_of_dropped(self._context, field, count_tokens(tokenizer, framed), limit, "Qwen")


def _check_padding(transformer: Any) -> None:
    import torch

    for name in _PADDING:
        if not torch.isfinite(transformer.get_parameter(name)).all():
            raise Misconfigured("weights.model", f"transformer.{name} holds a value that is not a finite number")
