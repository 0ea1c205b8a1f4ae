"""What leaves LTX-2: frames as uint8, and an error instead of a black clip when a number is not finite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from diffusers.video_processor import VideoProcessor

from deployments.nets import finite
from deployments.nets.vae_stream import Undecoded
from serve_app.core.media import Pixels, Samples


def require_finite(values: torch.Tensor, what: str) -> None:
    """Raise StageFailed naming `what` if any of `values` is NaN or infinite. Waits for the device."""
    finite.require(values, what, "generate.ltx2")


class Quantiser(VideoProcessor):  # type: ignore[misc]
    """Turns the decoder's output into uint8, a frame at a time and rounded, instead of floats that are cut off.

    The arithmetic is fp32, also for bf16 weights, whose eight bits would show as bands; and infinities are refused
    before they are clamped to white.
    """

    def postprocess_video(self, video: torch.Tensor | Undecoded, output_type: str = "np") -> Pixels | Iterator[Pixels]:
        """Return `(1, 3, T, H, W)` in -1..1 as uint8 RGB `(1, T, H, W, 3)`. Raise StageFailed for NaN and infinity.

        Of what is not decoded yet, return an iterator of such arrays, which decodes it.
        """
        return _quantised(video, 0) if isinstance(video, torch.Tensor) else _each_quantised(video)


def _each_quantised(video: Undecoded) -> Iterator[Pixels]:
    first = 0
    for part in video:
        yield _quantised(part, first)
        first += part.shape[2]


def _quantised(video: torch.Tensor, first: int) -> Pixels:
    _, _, count, height, width = video.shape
    pixels: Pixels = np.empty((1, count, height, width, 3), np.uint8)
    for index in range(count):
        frame = video[0, :, index].float()
        require_finite(frame, f"frame {first + index}")
        pixels[0, index] = finite.quantise(frame)
    return pixels


def sound_of(audio: torch.Tensor) -> Samples:
    """Return `(1, channels, n)` as float32 `(channels, n)` on the CPU. Raise StageFailed for NaN and infinity."""
    require_finite(audio, "the sound")
    samples: Samples = audio[0].float().cpu().numpy()
    return samples
