"""Making one clip with a pipeline of diffusers: everything about it that no family does its own way."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.video_processor import VideoProcessor

from deployments.nets import finite
from deployments.nets.framing import first_frame
from deployments.nets.loading import memory_of
from deployments.nets.outlook import Look, Outlook
from deployments.nets.progress import on_step
from deployments.nets.prompts import warn_of_dropped
from deployments.nets.t5_prompts import T5Prompts
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Grid, Image, Pixels, VideoShape, centre_crop
from serve_app.core.stage import Context

if TYPE_CHECKING:
    import PIL.Image

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Shot:
    """One clip: what every family is told in the same words."""

    asked: VideoShape
    native: VideoShape
    """The smallest legal size that contains it."""
    fps: Fraction
    seed: int
    """0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InvalidInput("seed", f"{self.seed} is not 0 to {LARGEST_SEED}")

    @classmethod
    def of(cls, asked: VideoShape, grid: Grid, fps: Fraction, seed: int) -> Shot:
        """Return the clip of `asked`, on `grid`. Raise InvalidInput naming `frames` or `seed`."""
        return cls(asked=asked, native=grid.cover(asked), fps=fps, seed=seed)

    @property
    def facts(self) -> dict[str, Any]:
        """What of it is in effect, as JSON values."""
        return {
            "size": str(self.asked),
            "native_size": str(self.native),
            "fps": str(self.fps),
        }

    def start(self, image: Image) -> PIL.Image.Image:
        """Return `image` at the native size, cut to the asked proportions and never stretched, edges repeated."""
        import PIL.Image

        return PIL.Image.fromarray(first_frame(image, self.asked, self.native))

    def clip(self, frames: Pixels, model: str) -> Clip:
        """Return native `(T, H, W, 3)` cut to the size that was asked for, as an array of its own."""
        cut = centre_crop(frames, self.asked.height, self.asked.width)
        return Clip(np.ascontiguousarray(cut), self.fps, model)

    def call(self) -> dict[str, Any]:
        """Return what every family's pipeline is called with."""
        return {
            "width": self.native.width,
            "height": self.native.height,
            "num_frames": self.native.frames,
            "generator": torch.Generator("cpu").manual_seed(self.seed),
            "callback_on_step_end_tensor_inputs": ["latents"],
        }


class Filmer:
    """One stage's turn on its weights: one run at a time, watched step by step and frame by frame."""

    def __init__(
        self, stage: str, pipeline: Any, makers: Sequence[Any], context: Context, facts: Mapping[str, Any]
    ) -> None:
        """Watch `pipeline`, and the `makers`, which share its modules and make the clips of `stage`.

        Every run notes `facts`, how the weights are held, as `held`.
        """
        self._stage, self._pipeline, self._context, self._facts = stage, pipeline, context, dict(facts)
        self._lock = threading.Lock()
        for maker in makers:
            maker.video_processor = Quantiser(stage, maker.video_processor)
        # An autoencoder may clamp what its decoder made, which turns an infinity into plain white.
        pipeline.vae.decoder.register_forward_hook(self._on_decoded)

    @contextmanager
    def turn(self, what: str) -> Iterator[None]:
        """Hold the weights for one run of `what`; a second one waits. Raises OutOfMemory, and Cancelled at once."""
        with self._lock:
            torch.set_num_threads(self._context.threads)
            self._context.check()
            self._context.note("held", self._facts)
            try:
                with memory_of(what, self._context.device):
                    yield
            finally:
                self._pipeline.maybe_free_model_hooks()

    def make(self, pipeline: Any, call: dict[str, Any], look: Look | None = None) -> Pixels:
        """Return `(T, H, W, 3)`. Raises StageFailed when a number is not finite, and Cancelled after a step.

        With a `look`, raises Rejected for an attempt that is hopeless.
        """
        pixels: Pixels = pipeline(**self._watched(pipeline, call, look), output_type="np").frames[0]
        return pixels

    def denoise(self, pipeline: Any, call: dict[str, Any], look: Look | None = None) -> torch.Tensor:
        """Return the latents that a pipeline ends with, and let it decode nothing. Raises what `make` does."""
        latents: torch.Tensor = pipeline(**self._watched(pipeline, call, look), output_type="latent").frames
        return latents

    def develop(self, chunks: Iterable[torch.Tensor], shape: VideoShape) -> Pixels:
        """Return `shape` as `(T, H, W, 3)` from decoded `chunks` of it, `(1, 3, t, H, W)` in -1..1.

        Raises StageFailed when a number is not finite, and Cancelled after a chunk.
        """
        pixels: Pixels = np.empty((shape.frames, shape.height, shape.width, 3), np.uint8)
        done = 0
        for chunk in chunks:
            count = chunk.shape[2]
            pixels[done : done + count] = quantise(chunk, self._stage, done)
            done += count
            self._context.check()
        if done != shape.frames:
            raise ValueError(f"{done} frames were decoded, and {shape.frames} were asked for")
        return pixels

    def _watched(self, pipeline: Any, call: dict[str, Any], look: Look | None) -> dict[str, Any]:
        """Return `call` with what is called after every step, and is shown what it wants of the pipeline."""
        if look is None:
            return {**call, "callback_on_step_end": on_step(self._context, self._stage)}
        outlook = Outlook(look)
        # A pipeline hands out any variable of its own that this list names.
        pipeline._callback_tensor_inputs = [*type(pipeline)._callback_tensor_inputs, *outlook.tensors]
        return {
            **call,
            "callback_on_step_end": on_step(self._context, self._stage, outlook),
            "callback_on_step_end_tensor_inputs": ["latents", *outlook.tensors],
        }

    def read(self, prompts: T5Prompts, texts: dict[str, str], limit: int) -> dict[str, torch.Tensor]:
        """Return the encoded `texts` (`prompt`, `negative_prompt`) by the names that pipelines take them under.

        Warns of each that is beyond `limit` tokens.
        """
        device, named = self._pipeline._execution_device, {}
        for field, text in texts.items():
            one = prompts.get(text, limit)
            warn_of_dropped(self._context, field, one.tokens, limit, "T5")
            named[f"{field}_embeds"] = one.states.to(device)
            if one.mask is not None:
                named[f"{field}_attention_mask"] = one.mask.to(device)
            self._context.check()
        return named

    def _on_decoded(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
        """Look at a frame (or a tile) that was decoded, and stop there if the run was cancelled."""
        frames = output[0] if isinstance(output, tuple) else output
        finite.require(frames, "what was decoded", self._stage)
        self._context.check()


class Quantiser(VideoProcessor):  # type: ignore[misc]
    """Turns the decoder's output into uint8, a frame at a time and rounded, instead of floats that are cut off."""

    def __init__(self, stage: str, published: VideoProcessor) -> None:
        """Prepare pictures as `published` does; errors are those of `stage`."""
        super().__init__(**{key: value for key, value in published.config.items() if not key.startswith("_")})
        self._stage = stage

    def postprocess_video(self, video: torch.Tensor, output_type: str = "np") -> Pixels:
        """Return `(1, 3, T, H, W)` in -1..1 as uint8 RGB `(1, T, H, W, 3)`. Raise StageFailed for NaN and infinity."""
        return quantise(video, self._stage)[None]


def quantise(video: torch.Tensor, stage: str, first: int = 0) -> Pixels:
    """Return `(1, 3, T, H, W)` in -1..1 as uint8 RGB `(T, H, W, 3)`, a frame at a time; `first` is frame 0's number.

    Raises StageFailed of `stage` for NaN and infinity.
    """
    _, _, count, height, width = video.shape
    pixels: Pixels = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        finite.require(video[0, :, index], f"frame {first + index}", stage)
        pixels[index] = finite.quantise(video[0, :, index])
    return pixels
