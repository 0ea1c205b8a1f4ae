"""How LTX-2 is sampled: guidance knobs, sigmas, and what differs between its versions. No torch in here.

Sources: HaCohen et al., "LTX-2: Efficient Joint Audio-Visual Foundation Model", 2026, arXiv:2601.03233; the authors'
code, Lightricks/LTX-2 (`LTX2Scheduler`; `ltx-pipelines` for the distilled sigmas and the guidance); diffusers 0.42.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from serve_app.core.errors import Misconfigured

Version = Literal["2.0", "2.3", "2.5"]

DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
"""The eight noise levels that the distilled weights were trained on. No trailing 0: the scheduler appends its own, and
a second one divides by zero."""

PUBLISHED_STEPS = (8, 10)
"""Step counts that published work runs distilled weights with: their own table, and the reference list of ten."""

_SHIFT = 2.05
"""The reference shifts for 4096 tokens, whatever the clip's size; diffusers shifts further for larger clips."""

_TERMINAL = 0.1
"""The last noise level of the reference list."""

_TRAINED_FPS = (24, 25, 30, 60)


@dataclass(frozen=True)
class Traits:
    """What a version wants of the sampler, beyond its weights."""

    uses_cross_timestep: bool
    """Whether each modality's cross attention is modulated by the other's noise level."""
    stg_blocks: tuple[int, ...]
    """Transformer blocks (from 0) that spatio-temporal guidance perturbs."""
    image_crf: int
    """H.264 quality of the pictures it was trained on, which a first frame is brought down to."""


TRAITS: Mapping[Version, Traits] = {
    "2.0": Traits(uses_cross_timestep=False, stg_blocks=(29,), image_crf=33),
    "2.3": Traits(uses_cross_timestep=True, stg_blocks=(28,), image_crf=33),
    "2.5": Traits(uses_cross_timestep=True, stg_blocks=(28,), image_crf=18),
}


@dataclass(frozen=True)
class Guidance:
    """The eight knobs of guidance, by the names of the diffusers pipelines. All default to ON there, so all are passed.

    `*guidance_scale` 1 is off, `*stg_scale` 0 is off, `*modality_scale` 1 is off, `*guidance_rescale` 0 is off.
    """

    guidance_scale: float = 1.0
    stg_scale: float = 0.0
    modality_scale: float = 1.0
    guidance_rescale: float = 0.0
    audio_guidance_scale: float = 1.0
    audio_stg_scale: float = 0.0
    audio_modality_scale: float = 1.0
    audio_guidance_rescale: float = 0.0

    @property
    def is_off(self) -> bool:
        """Whether a step is one forward pass at batch 1."""
        return self == UNGUIDED

    @property
    def evaluations(self) -> int:
        """Forward passes per step, at batch 1: each of the three kinds of guidance adds one."""
        parts = (
            max(self.guidance_scale, self.audio_guidance_scale) > 1,
            max(self.stg_scale, self.audio_stg_scale) > 0,
            max(self.modality_scale, self.audio_modality_scale) > 1,
        )
        return 1 + sum(parts)


UNGUIDED = Guidance()


def guidance_of(scale: float) -> Guidance:
    """Return what `scale` stands for: 1 is unguided, above it the authors' defaults with `scale` for the picture.

    Four evaluations per step instead of one. The sound keeps its own scale, 7, as in the authors' code.
    """
    if scale <= 1:
        return UNGUIDED
    return Guidance(
        guidance_scale=scale,
        stg_scale=1.0,
        modality_scale=3.0,
        guidance_rescale=0.7,
        audio_guidance_scale=7.0,
        audio_stg_scale=1.0,
        audio_modality_scale=3.0,
        audio_guidance_rescale=0.7,
    )


def sigmas_of(steps: int, is_distilled: bool) -> tuple[float, ...]:
    """Return the `steps` noise levels, falling from 1 and never reaching 0, for a scheduler that does not warp them."""
    if is_distilled and steps == len(DISTILLED_SIGMAS):
        return DISTILLED_SIGMAS
    return reference_sigmas(steps)


def reference_sigmas(steps: int) -> tuple[float, ...]:
    """Return the authors' list: a straight line from 1 towards 0, shifted for 4096 tokens, stretched to end at 0.1.

    Of one step nothing can be stretched (its last level is its first), so that list is just 1.
    """
    if steps == 1:
        return (1.0,)
    shift = math.exp(_SHIFT)
    # In gaps below 1, not in levels: the first level is then 1 to the last bit.
    line = [index / (steps - index) for index in range(steps)]
    gaps = [odds / (shift + odds) for odds in line]
    stretch = (1 - _TERMINAL) / gaps[-1]
    return tuple(1 - gap * stretch for gap in gaps)


def is_trained_fps(fps: Fraction) -> bool:
    """Whether `fps` Hz, which LTX-2 takes as an input, is near a rate that it was trained on (24, 25, 30, 60)."""
    return any(abs(fps - rate) < Fraction(1, 10) for rate in _TRAINED_FPS)


def check_stg_blocks(blocks: Sequence[int], layers: int) -> None:
    """Raise Misconfigured unless every block exists: diffusers would run the extra pass and perturb nothing."""
    beyond = [block for block in blocks if not 0 <= block < layers]
    if beyond or not blocks:
        named = ", ".join(map(str, beyond)) or "none"
        raise Misconfigured("weights.stg_blocks", f"{named} of the transformer's blocks 0 to {layers - 1}")


def check_version(version: Version, transformer: Mapping[str, Any]) -> None:
    """Raise Misconfigured unless the `transformer`'s configuration is that of `version`."""
    if not transformer.get("cross_attn_mod"):
        found = "2.0"
    else:
        found = "2.3" if transformer.get("ff_bias", True) else "2.5"
    if found != version:
        raise Misconfigured("weights.version", f"these are weights of LTX-{found}, not of LTX-{version}")
