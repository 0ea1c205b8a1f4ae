"""What a pipeline of diffusers calls after every step: it is counted, looked at, and perhaps the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from deployments.nets import finite
from serve_app.core.stage import Context

if TYPE_CHECKING:
    from deployments.nets.outlook import Outlook

OnStep = Callable[[Any, int, torch.Tensor, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Span:
    """Where the steps of a call lie among those of an attempt that makes several calls."""

    before: int = 0
    """Steps of the calls before it."""
    total: int | None = None
    """Steps of all calls; None: it is the only one."""


_WHOLE = Span()


def on_step(context: Context, stage: str, outlook: Outlook | None = None, span: Span = _WHOLE) -> OnStep:
    """Return a `callback_on_step_end` for a call of `stage`.

    It reports a step once the device has done it, so that progress never runs ahead; raises StageFailed when its
    latents are not finite; and raises Cancelled from inside the loop, so that nothing is decoded for nobody. (Setting
    the pipeline's `_interrupt` instead would skip the steps and still decode noise.) The pipelines take their tensors
    back from what it returns. With an `outlook`, a hopeless attempt raises Rejected, also for what is not finite; what
    was seen last is noted as `early_abort`. Steps are counted along `span`.
    """

    def done(pipeline: Any, index: int, _: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        step = span.before + index + 1
        if outlook is None:
            finite.require(tensors["latents"], f"step {step}", stage)
        elif (sight := outlook.see(pipeline, index, tensors)) is not None:
            context.note("early_abort", {"step": step, **asdict(sight)})
        context.progress(step, span.total or pipeline.num_timesteps)
        return tensors

    return done
