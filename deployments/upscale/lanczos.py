"""Enlarging, or reducing, without a network: antialiased Lanczos or bicubic to the exact size that was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deployments.nets.sizing import Target, fitted
from serve_app.core.media import Clip, Pixels
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    import torch


class Lanczos:
    """Resample every frame on its own: the same frame gives the same bytes, wherever in a clip it stands."""

    is_chunkwise = True

    class Weights(Strict):
        """None are needed."""

    class Params(Target):
        """The size to deliver in px. Without one, twice the input."""

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, clip: Clip) -> Clip:
        """Return ``clip`` at exactly ``params.width`` x ``params.height`` px: uint8 RGB ``(T, height, width, 3)``.

        Any input size; sharper than bilinear and antialiased where it shrinks (Duchon, "Lanczos Filtering in One and
        Two Dimensions", 1979). T, fps, audio and model are those of ``clip``, whose frames are only read.
        Raise Cancelled between two chunks.
        """
        import torch

        from deployments.nets.conveyor import Conveyor
        from deployments.nets.lanczos import resize

        torch.set_num_threads(self._context.threads)
        height, width = clip.shape.height, clip.shape.width
        if params.width is None and params.height is None:
            params = params.model_copy(update={"width": 2 * width, "height": 2 * height})
        plan = fitted((height, width), params)
        self._context.note("lanczos", {"filter": params.filter, "inner_px": [plan.inner[1], plan.inner[0]]})
        if said := plan.said(params.fit):
            self._context.warn(said)

        def work(pixels: torch.Tensor) -> torch.Tensor:
            return resize(pixels.permute(0, 3, 1, 2), plan.inner, params.filter).permute(0, 2, 3, 1)

        frames: Pixels = np.zeros((clip.shape.frames, *plan.target, 3), np.uint8)
        done = 0
        with torch.inference_mode():
            for part in Conveyor(self._context.device).carry(clip.frames, params.chunk, work):
                frames[done : done + len(part), plan.into[0], plan.into[1]] = part[:, plan.out_of[0], plan.out_of[1]]
                done += len(part)
                self._context.progress(done, len(frames))
        return replace(clip, frames=frames)
