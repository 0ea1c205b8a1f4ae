"""What a pipeline of diffusers calls after every step: it is counted, looked at, and perhaps the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from deployments.nets import finite
from serve_app.core.stage import Context

OnStep = Callable[[Any, int, torch.Tensor, dict[str, Any]], dict[str, Any]]


def on_step(context: Context, stage: str) -> OnStep:
    """Return a `callback_on_step_end` for a call of `stage`.

    It reports a step once the device has done it, so that progress never runs ahead; raises StageFailed when its
    latents are not finite; and raises Cancelled from inside the loop, so that nothing is decoded for nobody. (Setting
    the pipeline's `_interrupt` instead would skip the steps and still decode noise.) The pipelines take their tensors
    back from what it returns.
    """

    def done(pipeline: Any, index: int, _: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        finite.require(tensors["latents"], f"step {index + 1}", stage)
        context.progress(index + 1, pipeline.num_timesteps)
        return tensors

    return done
