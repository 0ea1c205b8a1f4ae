"""From a size and a wish to an exact size: what is resampled, what is cut off, what is filled with black."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from serve_app.core.stage import Strict

Size = tuple[int, int]
"""(height, width) in px."""


class Target(Strict):
    """The size to deliver, and how a frame gets there."""

    width: int | None = Field(None, ge=2, le=16384, description="Px; without it, the height's in proportion.")
    height: int | None = Field(None, ge=2, le=16384, description="Px; without it, the width's in proportion.")
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="Where proportions differ: cut the edges, add black bars, or distort."
    )
    filter: Literal["lanczos", "bicubic"] = Field("lanczos", description="Of the resampling; both are antialiased.")
    chunk: int = Field(4, ge=1, le=64, description="Frames between two reports of progress; the most in one batch.")


@dataclass(frozen=True)
class Fitting:
    """A frame of ``own`` size is resampled to ``inner``, which is laid centred over ``target``: crop, pad or exact."""

    own: Size
    inner: Size
    target: Size

    @property
    def is_enlarging(self) -> bool:
        """Whether pixels are made up by interpolation."""
        return self.inner[0] > self.own[0] or self.inner[1] > self.own[1]

    @property
    def into(self) -> tuple[slice, slice]:
        """The rows and columns of the target that are covered."""
        return _spans(self.target, self.inner)

    @property
    def out_of(self) -> tuple[slice, slice]:
        """The rows and columns of the resampled frame that are kept."""
        return _spans(self.inner, self.target)

    def said(self, fit: str) -> str | None:
        """Return what is lost, added or distorted, in words; None for nothing but a pixel of rounding."""
        rows, columns = self.inner[0] - self.target[0], self.inner[1] - self.target[1]
        if fit == "stretch":
            ratio = self.target[1] * self.own[0] / (self.target[0] * self.own[1])
            is_seen = abs(ratio - 1) > 2e-3
            return f"fit: stretch makes everything {ratio:.3f} times as wide for its height" if is_seen else None
        if max(abs(rows), abs(columns)) <= 1:
            return None
        deed = "cuts off" if fit == "crop" else "adds black:"
        return f"fit: {fit} {deed} {abs(columns)} columns and {abs(rows)} rows"


def fitted(own: Size, wish: Target) -> Fitting:
    """Return how frames of ``own`` size become those of ``wish``; without a wish they are that size already."""
    target = target_size(wish, own)
    return Fitting(own, inner_size(wish.fit, own, target), target)


def target_size(wish: Target, own: Size) -> Size:
    """Return the size that is asked for, of frames whose ``own`` is another.

    A missing side follows from the other in proportion, rounded to an even number, which video codecs need.
    """
    height, width = own
    if wish.height is None and wish.width is None:
        return own
    if wish.height is None:
        return max(2, 2 * round(height * (wish.width or 0) / width / 2)), wish.width or 0
    if wish.width is None:
        return wish.height, max(2, 2 * round(width * wish.height / height / 2))
    return wish.height, wish.width


def inner_size(fit: str, own: Size, target: Size) -> Size:
    """Return the size to resample ``own`` to, before its edges are cut or bars are added."""
    if fit == "stretch":
        return target
    ratios = (target[0] / own[0], target[1] / own[1])
    ratio = max(ratios) if fit == "crop" else min(ratios)
    # The side that decides is the target's, exactly: rounding must not leave a row over or short.
    height, width = (max(1, round(side * ratio)) for side in own)
    return (target[0] if ratio == ratios[0] else height, target[1] if ratio == ratios[1] else width)


def _spans(outer: Size, inner: Size) -> tuple[slice, slice]:
    """Return the rows and columns of ``outer`` that a centred ``inner`` covers."""
    spans = []
    for outside, inside in zip(outer, inner, strict=True):
        length = min(outside, inside)
        first = (outside - length) // 2
        spans.append(slice(first, first + length))
    return spans[0], spans[1]
