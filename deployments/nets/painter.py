"""Making one picture with a pipeline of diffusers: everything about it that no family does its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor

from deployments.nets import finite
from deployments.nets.loading import Checkpoint, facts_of, memory_of, place, sibling
from deployments.nets.progress import on_step
from deployments.nets.stills import Size, describe, steps_of
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Image, Pixels
from serve_app.core.stage import Context

LARGEST_SEED = 2**63 - 1
_STRENGTH = 0.6
"""The default of diffusers' own pipelines."""


@dataclass(frozen=True)
class Job:
    """One picture: what every family is told in the same words."""

    size: Size
    steps: int
    seed: int
    image: Image | None
    """What to start from instead of noise, of any size."""
    strength: float | None
    """How much of `image` to repaint, above 0 and below 1; None without one."""

    @property
    def facts(self) -> dict[str, Any]:
        """What of it is noted: `steps_run` are those that a start from a picture leaves."""
        facts: dict[str, Any] = {
            "size": describe(self.size.asked),
            "native_size": describe(self.size.native),
            "steps": self.steps,
            "seed": self.seed,
        }
        if self.strength is not None:
            facts |= {"strength": self.strength, "steps_run": steps_of(self.steps, self.strength)}
        return facts


def job_of(size: tuple[int, int], steps: int, seed: int, image: Image | None, strength: float | None) -> Job:
    """Return the job of a picture of `size` (width, height) px; `strength` is 0.6 unless given.

    Raises InvalidInput naming `seed`, or `strength` where there is no image, or where it leaves nothing of the image.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise InvalidInput("seed", f"{seed} is not 0 to {LARGEST_SEED}")
    if image is None and strength is not None:
        raise InvalidInput("strength", "has an effect only with an image to start from")
    if image is not None:
        strength = _STRENGTH if strength is None else strength
        steps_of(steps, strength)
    return Job(Size.of(*size), steps, seed, image, strength)


class Painter:
    """Two pipelines around one set of weights: from text alone, and from a picture. One call at a time."""

    def __init__(self, stage: str, pipeline: Any, from_image: Any, context: Context) -> None:
        """Take over `pipeline` (from `loading.read`) for `stage`; `from_image` is the class that starts from one."""
        self.from_text = pipeline
        self.from_image = sibling(from_image, pipeline)
        for one in (self.from_text, self.from_image):
            one.image_processor = Quantiser(stage, one.image_processor)
        self._stage, self._context = stage, context
        self._name, self._facts = "", dict[str, Any]()

    def settle(self, checkpoint: Checkpoint) -> None:
        """Move the weights to where they work. Raises OutOfMemory."""
        place(self.from_text, checkpoint)
        self._name, self._facts = checkpoint.name, facts_of(self.from_text, checkpoint)

    @property
    def dtype(self) -> str:
        """What the transformer computes in: `bfloat16`."""
        return str(self.from_text.transformer.dtype).removeprefix("torch.")

    def paint(self, job: Job, call: dict[str, Any]) -> Image:
        """Return the picture of `job`, exactly as large as asked; `call` is what the family's pipelines call it.

        Raises OutOfMemory, StageFailed when a number is not finite, and Cancelled after the step that was going on.
        The same job and call give the same bytes on the same machine.
        """
        native = job.size.native
        torch.set_num_threads(self._context.threads)
        self._context.check()
        self._context.note("held", self._facts)
        everything = {
            **call,
            "width": native.width,
            "height": native.height,
            "num_inference_steps": job.steps,
            "generator": torch.Generator("cpu").manual_seed(job.seed),
            "output_type": "np",
            "callback_on_step_end": on_step(self._context, self._stage),
        }
        pipeline = self.from_text
        if job.image is not None:
            pipeline = self.from_image
            everything |= {"image": job.size.start(job.image), "strength": job.strength}
        try:
            with memory_of(f"a picture of {describe(native)}", self._context.device):
                pixels: Pixels = pipeline(**everything).images[0]
        finally:
            self.from_text.maybe_free_model_hooks()
        return Image(job.size.crop(pixels), self._name)


class Quantiser(VaeImageProcessor):  # type: ignore[misc]
    """Turns the decoder's output into uint8 by rounding, and refuses infinities instead of clamping them to white."""

    def __init__(self, stage: str, published: VaeImageProcessor) -> None:
        """Prepare pictures as `published` does; errors are those of `stage`."""
        super().__init__(**{key: value for key, value in published.config.items() if not key.startswith("_")})
        self._stage = stage

    def postprocess(
        self, image: torch.Tensor, output_type: str = "np", do_denormalize: list[bool] | None = None
    ) -> list[Pixels]:
        """Return `(B, 3, H, W)` in -1..1 as B times uint8 RGB `(H, W, 3)`. Raise StageFailed for NaN and infinity."""
        finite.require(image, "the picture", self._stage)
        return [finite.quantise(one) for one in image]
