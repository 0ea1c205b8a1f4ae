"""Writing an animated WebP of a clip, of which one frame at a time is in Pillow's hands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from deployments.nets.exif import exif_of
from serve_app.core.media import Pixels


def write_webp(
    path: Path, frames: Pixels, durations_ms: Sequence[int], quality: int, text: str, show: Callable[[int], None]
) -> None:
    """Write ``frames`` ``(T, H, W, 3)``, which loop for ever; ``show`` hears how many are done.

    ``quality`` is 0 to 100, ``text`` what made them, in ASCII. Frames that are equal become one that is shown for all
    of their time: libwebp does so.
    """
    options = {"quality": quality, "method": 4, "exif": exif_of(text).tobytes() if text else b""}
    reel = _reel(frames, show)
    reel.save(path, format="WEBP", save_all=True, duration=list(durations_ms), loop=0, **options)


def _reel(frames: Pixels, show: Callable[[int], None]) -> PillowImage.Image:
    """Return a multi-frame picture that makes each frame when Pillow seeks it: one frame in memory, and progress."""

    class Reel(PillowImage.Image):
        n_frames = len(frames)

        def __init__(self) -> None:
            super().__init__()
            self._place = -1
            self.seek(0)

        def seek(self, frame: int) -> None:
            if frame >= self.n_frames:
                raise EOFError
            if frame == self._place:
                return
            picture = PillowImage.fromarray(np.ascontiguousarray(frames[frame]))
            self.im, self._mode, self._size = picture.im, picture.mode, picture.size
            self._place = frame
            show(frame + 1)

        def tell(self) -> int:
            return self._place

    return Reel()
