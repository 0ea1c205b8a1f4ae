"""What character clips are told to avoid: a list to put behind a caller's own negative prompt. No torch in here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from serve_app.core.stage import Strict

FIDELITY = (
    "different person",
    "different face",
    "morphing",
    "warping",
    "distortion",
    "wobbling",
    "melting",
    "ripple effect",
    "face collapse",
    "global motion",
    "jelly effect",
    "unstable",
    "inconsistent",
    "deformed face",
    "displaced features",
    "changing appearance",
    "liquid effect",
    "wave distortion",
    "plastic skin",
    "cartoonish",
    "low quality",
    "oversaturated",
    "blurry",
    "artificial",
    "fake",
    "synthetic",
    "CG",
    "rendered",
)
"""For a clip that must keep the person in its picture. Word for word and in this order, so that runs compare."""

MAPPING = "negative_prompt, behind the caller's own; a warning at guidance 1, where it has no effect"
"""What a family's `mapping` says of `negatives`."""


class Negatives(Strict):
    """The params of it, for families that read a negative prompt under guidance."""

    negative_prompt: str | None = Field(None, description="Has an effect only with guidance above 1.")
    negatives: Literal["none", "fidelity"] = Field(
        "none", description="`fidelity`: 28 keywords against a drifting face go behind `negative_prompt`."
    )

    @property
    def avoided(self) -> str:
        """What the model is to avoid: the caller's words, then the list's; empty for neither."""
        own = self.negative_prompt or ""
        if self.negatives == "none":
            return own
        return ", ".join([own, *FIDELITY] if own.strip() else FIDELITY)


def warn_where_inert(params: Negatives, is_guided: bool, warn: Callable[[str], None]) -> None:
    """Warn of each of the two that was given and has no effect, as there is no guidance."""
    if is_guided:
        return
    if params.negative_prompt:
        warn("negative_prompt has no effect at guidance 1")
    if params.negatives != "none":
        warn("negatives has no effect at guidance 1")


def facts_of(params: Negatives, is_guided: bool) -> dict[str, str | None]:
    """Return what a report says: the list, and the whole text in effect; None where nothing is read."""
    return {"negatives": params.negatives, "negative_prompt": params.avoided if is_guided else None}
