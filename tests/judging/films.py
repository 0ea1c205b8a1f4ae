"""Small files of every kind, made as they are needed."""

from __future__ import annotations

import io
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from serve_app.core.media import Pixels

HEIGHT, WIDTH, FPS = 90, 160, 24


def pan(frames: int = 12, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Return a slow pan over soft clouds with some detail, (T, H, W, 3)."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (height + 8, width + 2 * frames, 3)).astype(np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), 9) * 6 + cv2.GaussianBlur(noise, (0, 0), 1.5) * 1.2
    ground = cv2.normalize(clouds, None, 15, 240, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([ground[4 : 4 + height, step : step + width] for step in range(frames)])


def film(
    frames: Pixels, container: str = "mp4", codec: str = "libx264", pix_fmt: str = "yuv420p", **options: str
) -> bytes:
    """Return a video of ``frames``; ``options`` are the container's."""
    data = io.BytesIO()
    with av.open(data, "w", format=container, options=options) as file:
        stream: Any = file.add_stream(codec, rate=FPS)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        if codec == "libx264":
            stream.options = {"crf": "10", "x264-params": "log-level=none"}
        for pixels in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        file.mux(stream.encode(None))
    return data.getvalue()


def animation(frames: Pixels, kind: str, duration_ms: int | list[int] = 40) -> bytes:
    """Return a GIF, WebP or PNG that moves."""
    pictures = [Image.fromarray(pixels) for pixels in frames]
    data = io.BytesIO()
    pictures[0].save(data, kind, save_all=True, append_images=pictures[1:], duration=duration_ms, loop=0)
    return data.getvalue()


def still(pixels: Pixels, kind: str = "PNG") -> bytes:
    """Return a picture in a file."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()
