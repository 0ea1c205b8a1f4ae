"""One size for every picture: sharpness, motion and windows mean the same for a thumbnail and for 4K."""

from __future__ import annotations

from typing import TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from serve_app.core.media import Pixels

Grey = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
Levels = TypeVar("Levels", npt.NDArray[np.uint8], npt.NDArray[np.float32])

STILL_AREA_PX = 1024 * 1024
"""Where a still's sharpness is measured: the size of most models' pictures, and of the classic score's."""
CLIP_AREA_PX = 640 * 360
"""Where a clip's sharpness and motion are measured."""
_SIDES_PX = (64, 4096)
"""A picture thinner than this is stretched to it: flow needs room, and a verdict is owed to a 1x1 frame too."""


def grey_of(frame: Pixels) -> Grey:
    """Return the luma (BT.601, 8-bit levels) of an RGB frame ``(H, W, 3)``."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY))


def size_for(height: int, width: int, area: int) -> tuple[int, int]:
    """Return (height, width) of about ``area`` px with the same aspect, each side 64..4096 px."""
    factor = (area / (height * width)) ** 0.5
    tall, wide = (int(np.clip(round(side * factor), *_SIDES_PX)) for side in (height, width))
    return tall, wide


def scaled(picture: Levels, size: tuple[int, int]) -> Levels:
    """Return a grey or RGB picture at ``size`` (height, width): averaged over areas to shrink, cubic to grow."""
    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cast(Levels, cv2.resize(picture, (size[1], size[0]), interpolation=how))
