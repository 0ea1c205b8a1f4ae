"""The noise levels that distilled LTX-Video was made for, whatever the scheduler would spread over its steps.

Source: the authors' code, Lightricks/LTX-Video, configs/ltxv-13b-0.9.7-distilled.yaml: a first pass of seven levels,
and a second of three, after enlarging, of which only the last is new. A clip made in one pass goes through all eight.
diffusers' pipelines cannot be told levels (their `timesteps` collides with the `sigmas` that they pass themselves), and
the published scheduler would shift them by the clip's size and stretch the last one to 0.1.
"""

from __future__ import annotations

from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

LEVELS = (1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219)
"""From noise to nearly nothing. No trailing 0: the scheduler appends its own."""

PASSES = (7, 8)
"""How many of them there may be: the first pass alone, or both."""


class LevelsScheduler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """Takes its steps at the first `LEVELS`, unshifted."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """Set as many of `LEVELS` as the pipeline wants steps; what it would have had instead is not looked at."""
        count = len(sigmas) if sigmas is not None else num_inference_steps
        super().set_timesteps(device=device, sigmas=list(LEVELS[:count]))


def schedule_for(published: Any, steps: int) -> Any:
    """Return the scheduler for `steps` of distilled weights: at `LEVELS`, or as `published` for other counts."""
    if steps not in PASSES:
        return published
    still = {"use_dynamic_shifting": False, "shift": 1.0, "shift_terminal": None}
    return LevelsScheduler.from_config(published.config, **still)
