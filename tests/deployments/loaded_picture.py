"""A stage that makes pictures, loaded, and beside it the bare pipelines of diffusers with the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deployments.nets.loading import settle
from serve_app.core.media import Image, Pixels
from tests.deployments.desk import DeskContext
from tests.deployments.loaded_ltx2 import batches, picture, replaced

__all__ = ["LoadedPicture", "batches", "forwards", "generator", "load", "picture", "quantised", "raw", "replaced"]

PROMPT = "a red fox walks through snow"
SEED = 7


@dataclass
class LoadedPicture:
    """A loaded stage, the params that its tests begin with, and the desk that it reports to."""

    stage: Any
    desk: DeskContext
    small: dict[str, Any]

    def make(self, prompt: str = PROMPT, seed: int = SEED, image: Image | None = None, **changes: Any) -> Image:
        """Run the stage with ``small`` and ``changes`` to it, on an empty desk; ``adapters`` are worn."""
        self.desk.clear()
        adapters = changes.pop("adapters", None)
        params = self.stage.Params(**{**self.small, **changes})
        made: Image = self.stage.run(params, prompt=prompt, seed=seed, image=image, adapters=adapters)
        return made

    @property
    def part(self) -> Any:
        """The shared modules, by name: ``part.transformer``."""
        return self.stage._painter.from_text


def load(stage: Any, directory: Path, desk: Path, small: dict[str, Any], **weights: Any) -> LoadedPicture:
    """Load ``stage`` from ``directory``; ``small`` are the params that its tests begin with."""
    context = DeskContext(desk)
    stage.load(stage.Weights(**{"model": str(directory), **weights}), context)
    return LoadedPicture(stage, context, small)


def raw(kind: Any, directory: Path) -> Any:
    """Return the pipeline of class ``kind`` as its documentation loads it."""
    pipeline = kind.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    settle(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generator() -> torch.Generator:
    """Return what a seed of SEED stands for."""
    return torch.Generator("cpu").manual_seed(SEED)


def quantised(images: Any) -> Pixels:
    """Return what diffusers gives, floats ``(1, H, W, 3)`` in 0..1, as uint8 ``(H, W, 3)``."""
    pixels: Pixels = np.rint(images[0] * 255).astype(np.uint8)
    return pixels


def forwards(loaded: LoadedPicture, **changes: Any) -> list[int]:
    """Return the batch of every forward pass of the transformer during a run with ``changes``."""
    with batches(loaded.part.transformer) as seen:
        loaded.make(**changes)
    return seen
