"""The sound of a video file that a server made."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from serve_app.core.media import Audio


def read_sound(data: bytes, seconds: float) -> Audio | None:
    """Return the first ``seconds`` of the first sound of the file in ``data``; None where it has none.

    float32 ``(channels, n)``, mono or stereo: what has more channels is mixed down. No more is decoded than that.
    """
    import av

    with av.open(io.BytesIO(data)) as container:
        if not container.streams.audio:
            return None
        stream: Any = container.streams.audio[0]
        layout, wanted = "mono" if stream.channels == 1 else "stereo", math.ceil(seconds * stream.rate)
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=stream.rate)
        parts: list[Any] = []
        for frame in _frames(container, stream):
            parts += [shaped.to_ndarray() for shaped in resampler.resample(frame)]
            if sum(part.shape[1] for part in parts) >= wanted:
                break
    if not parts:
        return None
    samples = np.concatenate(parts, axis=1)[:, :wanted]
    return Audio(np.clip(samples, -1, 1).astype(np.float32), stream.rate)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield every frame, and then None, which has a resampler give what it holds back."""
    yield from container.decode(stream)
    yield None
