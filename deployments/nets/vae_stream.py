"""Decoding LTX-Video's and LTX-2's latents in chunks of time, so that memory is bounded by the chunk and not the clip.

Their decoder looks both ways in time, so a chunk's edges differ from those of the whole clip: chunks overlap and are
cross-faded there, as the authors do (80 frames, 24 of them shared). diffusers 0.42 has this too
(`use_framewise_decoding`), but drops the wrong frame of every chunk: the last, where the first is the one that the
chunk before has made already. Everything after the first chunk is then a frame early, and the cross-fade ghosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Chunks:
    """How time is cut, in frames: both are multiples of the autoencoder's 8, and chunks are longer than they share."""

    length: int = 80
    overlap: int = 24

    def __post_init__(self) -> None:
        if self.overlap < 0 or self.length <= self.overlap:
            raise ValueError(f"chunks of {self.length} frames cannot share {self.overlap}")


CHUNKS = Chunks()
"""As the authors cut."""


def stream_decode(
    vae: Any, latents: torch.Tensor, temb: torch.Tensor | None = None, chunks: Chunks = CHUNKS
) -> Iterator[torch.Tensor]:
    """Yield the frames of `latents` `(B, C, F, h, w)` as `(B, 3, t, H, W)` in -1..1, in order, where they lie.

    The `t` add up to `(F - 1) * 8 + 1`. No more than a chunk and a latent are decoded at once. `temb` `(B,)` is the
    noise level that the decoder is told, where it asks for one. Raises ValueError where the chunks are not multiples of
    what the autoencoder folds into a latent.
    """
    fold = int(vae.temporal_compression_ratio)
    if chunks.length % fold or chunks.overlap % fold:
        raise ValueError(f"chunks of {chunks.length} and {chunks.overlap} frames are not multiples of {fold}")
    span, count = chunks.length // fold, latents.shape[2]
    stride = span - chunks.overlap // fold
    tail: torch.Tensor | None = None
    for start in range(0, count, stride):
        # The latent before a chunk's own gives its first frame, and the only one that the chunk before has whole.
        frames = _decode(vae, latents[:, :, start : start + span + 1], temb)
        if tail is not None:
            frames = _fade(tail, frames[:, :, 1:])
        is_last = start + span + 1 >= count
        kept = frames.shape[2] if is_last else stride * fold + (start == 0)
        yield frames[:, :, :kept]
        if is_last:
            return
        tail = frames[:, :, kept:].clone()


class ChunkedDecode:
    """Stands where an autoencoder has its `decode`, and puts it off: what it gives is decoded as it is read."""

    def __init__(self, vae: Any, chunks: Chunks = CHUNKS) -> None:
        self._vae, self._chunks = vae, chunks
        self._whole = vae.decode

    def __call__(
        self, latents: torch.Tensor, temb: torch.Tensor | None = None, return_dict: bool = False
    ) -> tuple[Undecoded]:
        """Return the frames of `latents` undecoded, in a tuple as `return_dict=False` has it; the other is refused."""
        if return_dict:
            raise ValueError("chunks are answered as a tuple")
        part = _Whole(self._whole, self._vae.temporal_compression_ratio)
        return (Undecoded(part, latents, temb, self._chunks),)


@dataclass(frozen=True)
class Undecoded:
    """Latents on their way to be frames, which iterating over them makes: `(B, 3, t, H, W)` in -1..1, on the CPU."""

    vae: Any
    latents: torch.Tensor
    temb: torch.Tensor | None
    chunks: Chunks

    def __iter__(self) -> Iterator[torch.Tensor]:
        for one in stream_decode(self.vae, self.latents, self.temb, self.chunks):
            yield one.cpu()


@dataclass(frozen=True)
class _Whole:
    """An autoencoder's own `decode`, from under the one that replaced it."""

    decode: Any
    temporal_compression_ratio: int


def _decode(vae: Any, latents: torch.Tensor, temb: torch.Tensor | None) -> torch.Tensor:
    with torch.no_grad():
        frames: torch.Tensor = vae.decode(latents, temb, return_dict=False)[0]
    return frames


def _fade(tail: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return `frames`, their beginning faded in over `tail`, which shows the same moments."""
    shared = min(tail.shape[2], frames.shape[2])
    # The end of a chunk is further off than its beginning, and for longer: it is gone after two thirds.
    moments = torch.arange(shared, device=frames.device, dtype=torch.float32) + 0.5
    share = moments.div(max(shared, 1) * 2 / 3).clamp(max=1)[:, None, None]
    start = tail[:, :, :shared].float() * (1 - share) + frames[:, :, :shared].float() * share
    return torch.cat([start.to(frames.dtype), frames[:, :, shared:]], dim=2)
