"""The stage `generate.wan` with tiny weights and, beside it, the bare pipelines of diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline, WanPipeline

from deployments.generate.wan import Wan
from deployments.nets.loading import settle
from serve_app.core.media import Image
from tests.deployments.desk import DeskContext
from tests.deployments.loaded_video import PROMPT, SEED, LoadedVideo

SMALL = Wan.Params(width=64, height=64, frames=5, steps=4)


@dataclass
class RawWan:
    """A pipeline as `from_pretrained` gives it, or one for images around the same modules."""

    pipeline: Any

    def call(self, shift: float | None = None, image: Image | None = None, **changes: Any) -> Any:
        """Return its frames, `(1, T, H, W, 3)` in 0..1; ``shift`` is set as its documentation tells to."""
        call: dict[str, Any] = {
            "prompt": PROMPT,
            "width": SMALL.width,
            "height": SMALL.height,
            "num_frames": SMALL.frames,
            "num_inference_steps": SMALL.steps,
            "generator": torch.Generator("cpu").manual_seed(SEED),
            **changes,
        }
        if image is not None:
            import PIL.Image

            call["image"] = PIL.Image.fromarray(image.pixels)
        published = self.pipeline.scheduler
        if shift is not None:
            self.pipeline.scheduler = UniPCMultistepScheduler.from_config(published.config, flow_shift=shift)
        try:
            return self.pipeline(**call).frames
        finally:
            self.pipeline.scheduler = published


def load(directory: Path, desk: Path, variant: str, **weights: Any) -> LoadedVideo:
    """Load the stage from ``directory``."""
    context, stage = DeskContext(desk), Wan()
    stage.load(Wan.Weights(**{"model": str(directory), "variant": variant, **weights}), context)
    return LoadedVideo(stage, context, SMALL)


def load_raw(directory: Path, has_image: bool) -> RawWan:
    """Load a pipeline of diffusers from ``directory``."""
    kind = WanImageToVideoPipeline if has_image else WanPipeline
    pipeline = kind.from_pretrained(directory, local_files_only=True)
    settle(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    return RawWan(pipeline)
