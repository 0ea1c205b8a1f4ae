"""A clip of LTX-2 in one take or in two: at half the size first, then enlarged and refined. No torch in here.

The second is the authors' two-stage recipe for distilled weights (Lightricks/LTX-2, `ltx-pipelines`): eight steps at
half the size, the spatial upsampler of latents (twice in both directions), noise again up to the first of three sigmas,
and these three steps at full size, without guidance. The sound keeps its length; it is noised and refined along.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from deployments.nets.ltx2_keyframes import Keyframe
from deployments.nets.ltx2_sampling import UNGUIDED, Guidance
from serve_app.core.errors import Misconfigured
from serve_app.core.media import Grid, VideoShape

REFINING_SIGMAS = (0.909375, 0.725, 0.421875)
"""The three noise levels of the second take: the last three that the distilled weights were trained on."""

GRID = Grid(spatial=32, temporal=8)
"""What the video autoencoder can make: sizes in multiples of 32 px, 8k+1 frames."""

TWO_STAGE_GRID = Grid(spatial=64, temporal=8)
"""Where the first take has half the size, which must be a multiple of 32 px itself."""


@dataclass(frozen=True)
class Take:
    """One call of a pipeline: the size that it makes, its noise levels, its guidance, and its place among the steps."""

    native: VideoShape
    sigmas: tuple[float, ...]
    guidance: Guidance
    before: int = 0
    """Steps of the takes before it."""
    is_last: bool = True

    @property
    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "native_size": str(self.native),
            "steps": len(self.sigmas),
            "sigmas": [round(sigma, 6) for sigma in self.sigmas],
            "evaluations_per_step": self.guidance.evaluations,
        }


@dataclass(frozen=True)
class Recipe:
    """Everything about a clip that params and weights decide, before the prompt and the seed."""

    asked: VideoShape
    native: VideoShape
    fps: Fraction
    takes: tuple[Take, ...]
    """One, or those of the two-stage recipe."""
    guidance: Guidance
    """Of the first take; the refining one has none."""
    keyframes: tuple[Keyframe, ...]
    abort_from: float | None

    @property
    def steps(self) -> int:
        """Of all takes."""
        return sum(len(take.sigmas) for take in self.takes)

    @property
    def facts(self) -> dict[str, Any]:
        """What a report says of it; noise levels and guidance are those of the first take."""
        return {
            "size": str(self.asked),
            "native_size": str(self.native),
            "fps": str(self.fps),
            "steps": self.steps,
            "sigmas": self.takes[0].facts["sigmas"],
            "stages": [take.facts for take in self.takes],
            "keyframes": [{"frame": one.frame, "strength": one.strength} for one in self.keyframes],
            "guidance": asdict(self.guidance),
            "evaluations_per_step": self.guidance.evaluations,
        }


def check_two_stages(upsampler: str | None, is_distilled: bool) -> None:
    """Raise Misconfigured naming what weights lack for the two-stage recipe."""
    if upsampler is None:
        raise Misconfigured("weights.latent_upsampler", "none is configured, and `stages: 2` needs one")
    if not is_distilled:
        reason = "`stages: 2` refines in three steps, which only distilled weights (or such an adapter) can do"
        raise Misconfigured("weights.distilled", reason)


def grid_of(stages: int) -> Grid:
    """Return what can be made in so many takes."""
    return GRID if stages == 1 else TWO_STAGE_GRID


def takes_of(native: VideoShape, sigmas: tuple[float, ...], guidance: Guidance, stages: int) -> tuple[Take, ...]:
    """Return the takes of a clip of `native` size, which is on the grid of so many `stages`."""
    if stages == 1:
        return (Take(native, sigmas, guidance),)
    half = VideoShape(frames=native.frames, height=native.height // 2, width=native.width // 2)
    first = Take(half, sigmas, guidance, is_last=False)
    return first, Take(native, REFINING_SIGMAS, UNGUIDED, before=len(sigmas))
