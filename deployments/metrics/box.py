"""The face, as the caller points at it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

FaceBox = tuple[float, float, float, float]


def _checked(box: FaceBox) -> FaceBox:
    x, y, wide, tall = box
    if not (0 <= x <= 1 and 0 <= y <= 1 and 0 < wide <= 1 - x + 1e-6 and 0 < tall <= 1 - y + 1e-6):
        raise ValueError("a box is x, y, width, height in shares 0..1 of the frame, and lies inside it")
    return box


def _parsed(box: object) -> object:
    return box.split(",") if isinstance(box, str) else box


CheckedBox = Annotated[FaceBox, BeforeValidator(_parsed), AfterValidator(_checked)]
"""(x, y, width, height) in shares of the frame, or "x,y,width,height"; pydantic refuses a box that leaves it."""
