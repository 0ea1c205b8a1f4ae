"""The stage `generate.ltx_video` with tiny weights and, beside it, the bare pipelines of diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import LTXImageToVideoPipeline, LTXPipeline

from deployments.generate.ltx_video import LtxVideo
from deployments.nets.loading import settle
from serve_app.core.media import Image
from tests.deployments.desk import DeskContext
from tests.deployments.loaded_video import PROMPT, SEED, LoadedVideo

SMALL = LtxVideo.Params(width=64, height=64, frames=9, steps=3)


@dataclass
class RawLtxVideo:
    """The two pipelines as `from_pretrained` gives them."""

    from_text: Any
    from_image: Any

    def call(self, image: Image | None = None, **changes: Any) -> Any:
        """Return the frames of the right one, `(1, T, H, W, 3)` in 0..1."""
        call: dict[str, Any] = {
            "prompt": PROMPT,
            "width": SMALL.width,
            "height": SMALL.height,
            "num_frames": SMALL.frames,
            "num_inference_steps": SMALL.steps,
            "generator": torch.Generator("cpu").manual_seed(SEED),
            "output_type": "np",
            **changes,
        }
        if image is None:
            return self.from_text(**call).frames
        import PIL.Image

        return self.from_image(image=PIL.Image.fromarray(image.pixels), **call).frames


def load(directory: Path, desk: Path, **weights: Any) -> LoadedVideo:
    """Load the stage from ``directory``."""
    context, stage = DeskContext(desk), LtxVideo()
    stage.load(LtxVideo.Weights(**{"model": str(directory), **weights}), context)
    return LoadedVideo(stage, context, SMALL)


def load_raw(directory: Path) -> RawLtxVideo:
    """Load the pipelines of diffusers from ``directory``."""
    made = [kind.from_pretrained(directory, local_files_only=True) for kind in (LTXPipeline, LTXImageToVideoPipeline)]
    for pipeline in made:
        settle(pipeline)
    for pipeline in made:
        pipeline.set_progress_bar_config(disable=True)
    return RawLtxVideo(*made)
