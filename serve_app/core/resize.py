"""One way to fit a photo to a frame, for everybody: a judge must see exactly the pixels that a generator was given."""

from __future__ import annotations

import numpy as np

from serve_app.core.media import Pixels


def cover_box(source_height: int, source_width: int, height: int, width: int) -> tuple[float, float, float, float]:
    """Return ``(left, top, right, bottom)`` in source px: the largest centred part of the target's aspect."""
    scale = min(source_width / width, source_height / height)
    columns, rows = min(width * scale, source_width), min(height * scale, source_height)
    left, top = (source_width - columns) / 2, (source_height - rows) / 2
    return left, top, min(left + columns, source_width), min(top + rows, source_height)


def cover_resize(image: Pixels, height: int, width: int) -> Pixels:
    """Return ``image`` uint8 ``(H, W, 3)`` as ``(height, width, 3)``: covered, cropped at the centre, never stretched.

    Resampled once, by Pillow's Lanczos, which widens its kernel when it shrinks (antialiasing) and works in integers,
    so the same input gives the same bytes on every machine. The crop is in fractions of a pixel; a picture that has
    the size already comes back as an exact copy. Raises ValueError unless ``height`` and ``width`` are above 0.
    """
    from PIL import Image as PillowImage

    if height < 1 or width < 1:
        raise ValueError(f"cannot resize to {width}x{height}")
    if image.shape[:2] == (height, width):
        return image.copy()
    box = cover_box(image.shape[0], image.shape[1], height, width)
    picture = PillowImage.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), PillowImage.Resampling.LANCZOS, box=box)).copy()
