"""How Wan 2.2 is sampled: what its three sets of weights were made for, and how the public words reach them. No torch.

Sources: Wan Team, "Wan: Open and Advanced Large-Scale Video Generative Models", 2025, arXiv:2503.20314; the authors'
code, Wan-Video/Wan2.2 (`wan/configs`: steps, shift, guidance, rates) and Wan-Video/Wan2.1 (`generate.py`: the smaller
shift of image-to-video at 480p); diffusers 0.42.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.media import Grid, VideoShape

Variant = Literal["t2v-a14b", "i2v-a14b", "ti2v-5b"]

_480P_PX = 832 * 480


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a set of weights was made for."""

    grid: Grid
    experts: int
    """Transformers: two take turns by noise level, or there is one."""
    takes_text_alone: bool
    takes_image: bool
    steps: int
    guidance: float
    """Of the high-noise expert, or of the only one."""
    guidance_low: float | None
    """Of the low-noise expert."""
    shift: float
    shift_480p: float
    """Of the noise levels, for clips of up to 832x480 px."""
    fps: int
    """Of the clips it was trained on. The model is not told a rate."""


TRAITS: Mapping[Variant, Traits] = {
    "t2v-a14b": Traits(
        grid=Grid(spatial=16, temporal=4),
        experts=2,
        takes_text_alone=True,
        takes_image=False,
        steps=40,
        guidance=4.0,
        guidance_low=3.0,
        shift=12.0,
        shift_480p=12.0,
        fps=16,
    ),
    "i2v-a14b": Traits(
        grid=Grid(spatial=16, temporal=4),
        experts=2,
        takes_text_alone=False,
        takes_image=True,
        steps=40,
        guidance=3.5,
        guidance_low=3.5,
        shift=5.0,
        shift_480p=3.0,
        fps=16,
    ),
    "ti2v-5b": Traits(
        grid=Grid(spatial=32, temporal=4),
        experts=1,
        takes_text_alone=True,
        takes_image=True,
        steps=50,
        guidance=5.0,
        guidance_low=None,
        shift=5.0,
        shift_480p=5.0,
        fps=24,
    ),
}


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance of each expert; 1 for `high` turns it off for both, as the pipelines do."""

    high: float
    low: float | None
    """None where there is one expert."""

    @property
    def is_off(self) -> bool:
        """Whether a step is one forward pass; otherwise it is two, with either expert."""
        return self.high <= 1


def guidance_of(variant: Variant, high: float | None, low: float | None) -> Guidance:
    """Return the scales in effect: the authors', where the caller gives none, and `low` never above `high` by itself.

    Raises InvalidInput naming `guidance_low` where it could have no effect.
    """
    traits = TRAITS[variant]
    if low is not None and traits.guidance_low is None:
        raise InvalidInput("guidance_low", f"{variant} has one transformer, whose scale is guidance")
    check_guidance(high, low)
    chosen = traits.guidance if high is None else high
    if traits.guidance_low is None:
        return Guidance(chosen, None)
    return Guidance(chosen, min(traits.guidance_low, chosen) if low is None else low)


def check_guidance(high: float | None, low: float | None) -> None:
    """Raise InvalidInput naming `guidance_low` where guidance is off: the pipelines would ignore it without a word."""
    if low is not None and high is not None and high <= 1:
        raise InvalidInput("guidance_low", "guidance 1 turns guidance off for both experts, so it has no effect")


def shift_of(variant: Variant, shape: VideoShape) -> float:
    """Return the authors' shift of the noise levels for clips of that size; the published scheduler's is always 3."""
    traits = TRAITS[variant]
    return traits.shift_480p if shape.width * shape.height <= _480P_PX else traits.shift


def split_steps(timesteps: Sequence[int], boundary: float | None) -> tuple[int, int]:
    """Return how many steps the high-noise expert makes, down to `boundary` (0..1000), and how many the other."""
    high = sum(boundary is None or step >= boundary for step in timesteps)
    return high, len(timesteps) - high


def check_timesteps(timesteps: Sequence[int], shift: float) -> None:
    """Raise InvalidInput naming `steps` if the first two are at one noise level: the scheduler would then skip one."""
    if len(timesteps) > 1 and timesteps[0] == timesteps[1]:
        reason = f"{len(timesteps)} at flow_shift {shift:g} put two at the same noise level; ask for fewer"
        raise InvalidInput("steps", reason)


def check_image(variant: Variant, is_given: bool) -> None:
    """Raise InvalidInput naming `image` if it is missing, or given to weights that cannot see it."""
    traits = TRAITS[variant]
    if is_given and not traits.takes_image:
        raise InvalidInput("image", f"{variant} makes clips from text alone; use i2v-a14b or ti2v-5b")
    if not is_given and not traits.takes_text_alone:
        raise InvalidInput("image", f"{variant} needs the first frame")


def speed_note(variant: Variant, fps: Fraction) -> str | None:
    """Return a warning where `fps` Hz is not the rate that it was trained at, which only changes how fast it plays."""
    trained = TRAITS[variant].fps
    if fps == trained:
        return None
    times = float(fps / trained)
    return (
        f"Wan is not told the rate: {variant} moves as at {trained} fps, so {float(fps):g} plays {times:.3g}x as fast"
    )


def check_variant(variant: Variant, index: Mapping[str, Any], in_channels: int, latents: int) -> None:
    """Raise Misconfigured unless the pipeline's configuration (`index`) and its channels are those of `variant`.

    Raises it too where there are two experts and no boundary between them: the second would never be used.
    """
    has_two = index["transformer_2"][0] is not None
    if index["expand_timesteps"]:
        found = "ti2v-5b"
    elif not has_two:
        found = "no version of 2.2: there is one transformer, so Wan 2.1 perhaps"
    else:
        found = "t2v-a14b" if in_channels == latents else "i2v-a14b"
    if found != variant:
        raise Misconfigured("weights.variant", f"these weights are {found}, not {variant}")
    if has_two and index["boundary_ratio"] is None:
        raise Misconfigured(
            "weights.model", "model_index.json has no boundary_ratio, so one expert would never be used"
        )
