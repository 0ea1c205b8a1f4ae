"""EDSR super-resolution, then antialiased resampling to the exact size that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from serve_app.core import digest
from serve_app.core.errors import Misconfigured, OutOfMemory
from serve_app.core.media import Clip, Pixels
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    import torch

TILES_PX = (512, 256, 128)
"""Sides tried, in order, of the square tiles that a frame is cut into when it does not fit into memory whole."""


class Edsr:
    """Enlarge every frame on its own: the same frame gives the same bytes, wherever in a clip it stands."""

    class Weights(Strict):
        """The network, and the precision of its convolutions."""

        file: str = Field("small", description="`small`, the bundled 4x32 network, or a safetensors file of ours.")
        dtype: Literal["auto", "bf16", "fp32"] = Field(
            "auto", description="`auto` is bf16 where the device computes in it natively, else fp32."
        )

    class Params(Strict):
        """The size to deliver. Without one, the network's own: twice the input for the bundled weights."""

        width: int | None = Field(None, ge=2, le=16384, description="Px; without it, the height's in proportion.")
        height: int | None = Field(None, ge=2, le=16384, description="Px; without it, the width's in proportion.")
        fit: Literal["crop", "pad", "stretch"] = Field(
            "crop", description="Where proportions differ: cut the edges, add black bars, or distort."
        )
        filter: Literal["lanczos", "bicubic"] = Field("lanczos", description="From the network's size to the target.")
        chunk: int = Field(4, ge=1, le=64, description="Frames between two reports of progress; a batch on a GPU.")

    def load(self, weights: Weights, context: Context) -> None:
        """Read the network. Raise Misconfigured naming ``weights.file`` if it holds none."""
        from deployments.nets import edsr

        path = edsr.BUILTIN.get(weights.file, Path(weights.file))
        try:
            network = edsr.load(path)
            with path.open("rb") as file:
                self._digest = digest.of_stream(file)
        except (OSError, ValueError) as error:
            raise Misconfigured("weights.file", str(error)) from error

        self._context = context
        self._dtype = _resolve(weights.dtype, context.device)
        self._network = network.channels_last().to(context.device)
        self._tile_px: int | None = None  # None: whole frames, until one does not fit

    def run(self, params: Params, *, clip: Clip) -> Clip:
        """Return ``clip`` at exactly ``params.width`` x ``params.height`` px: uint8 RGB ``(T, height, width, 3)``.

        Any input size. T, fps, audio and model are those of ``clip``, whose frames are only read.
        Raise OutOfMemory naming the smallest tile that failed, and Cancelled between two frames.
        """
        import torch

        torch.set_num_threads(self._context.threads)
        scale = self._network.config.scale
        own = (clip.shape.height * scale, clip.shape.width * scale)
        height, width = target_size(params, *own)
        inner = inner_size(params.fit, own, (height, width))
        self._report(own, inner)
        if self._tile_px is not None:
            self._warn_of_tiles("an earlier frame")
        frames: Pixels = np.zeros((clip.shape.frames, height, width, 3), np.uint8)
        for start in range(0, len(frames), params.chunk):
            # A copy: frames out of a shared store are read-only, which torch.from_numpy warns of.
            part = torch.from_numpy(clip.frames[start : start + params.chunk].copy())
            with torch.inference_mode():
                large = self._enlarge(part.to(self._context.device).permute(0, 3, 1, 2))
                resized = resize(large, inner, params.filter).permute(0, 2, 3, 1).cpu().numpy()
            into, out_of = overlap(frames.shape[1:3], inner)
            frames[start : start + params.chunk, into[0], into[1]] = resized[:, out_of[0], out_of[1]]
            self._context.progress(min(start + params.chunk, len(frames)), len(frames))
        return Clip(frames, clip.fps, clip.model, clip.audio)

    def _report(self, own: tuple[int, int], inner: tuple[int, int]) -> None:
        dtype = str(self._dtype).removeprefix("torch.")
        self._context.note("edsr", {"weights": self._digest, "dtype": dtype, "network_px": [own[1], own[0]]})
        if inner[0] > own[0] or inner[1] > own[1]:
            self._context.warn(
                f"the network enlarges to {own[1]}x{own[0]} px; from there to {inner[1]}x{inner[0]} is interpolated"
            )

    def _enlarge(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return uint8 ``(N, 3, H, W)`` through the network, as uint8 ``(N, 3, H * scale, W * scale)``."""
        import torch

        # One frame at a time on a CPU, where a larger batch only spills the caches.
        batches = torch.split(pixels, len(pixels) if pixels.is_cuda else 1)
        done = []
        for batch in batches:
            self._context.check()
            done.append(self._fit_in_memory(batch))
        return torch.cat(done) if len(done) > 1 else done[0]

    def _fit_in_memory(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the network on whole frames, or on the largest tiles that fit; remember which."""
        while True:
            try:
                return self._forward(pixels)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                smaller = [tile for tile in TILES_PX if self._tile_px is None or tile < self._tile_px]
                if not smaller:
                    tile = f"a tile of {self._tile_px}x{self._tile_px} px"
                    raise OutOfMemory(f"{tile} of an EDSR frame", self._context.device) from error
            # Outside the handler, whose traceback would keep the failed attempt's tensors alive.
            self._tile_px = smaller[0]
            self._warn_of_tiles("a frame")
            if pixels.is_cuda:
                import torch

                torch.cuda.empty_cache()

    def _warn_of_tiles(self, what: str) -> None:
        self._context.warn(
            f"{what} did not fit into memory: cut into tiles of {self._tile_px} px (equal up to rounding)"
        )

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        from deployments.nets.edsr import tiled

        x = pixels.float().div_(255)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self._dtype is torch.bfloat16):
            y = self._network(x) if self._tile_px is None else tiled(self._network, x, self._tile_px)
        return y.mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def target_size(params: Edsr.Params, height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) in px that ``params`` ask for, given the network's own.

    A missing side follows from the other in proportion, rounded to an even number, which video codecs need.
    """
    if params.height is None and params.width is None:
        return height, width
    if params.height is None:
        return max(2, 2 * round(height * (params.width or 0) / width / 2)), params.width or 0
    if params.width is None:
        return params.height, max(2, 2 * round(width * params.height / height / 2))
    return params.height, params.width


def inner_size(fit: str, own: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) in px to resample ``own`` to, before its edges are cut or bars are added."""
    if fit == "stretch":
        return target
    ratios = (target[0] / own[0], target[1] / own[1])
    ratio = max(ratios) if fit == "crop" else min(ratios)
    # The side that decides is the target's, exactly: rounding must not leave a row over or short.
    height, width = (max(1, round(side * ratio)) for side in own)
    return (target[0] if ratio == ratios[0] else height, target[1] if ratio == ratios[1] else width)


def overlap(target: tuple[int, ...], inner: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the (rows, columns) of ``target`` that a centred ``inner`` covers, and those of ``inner`` inside."""
    into, out_of = [], []
    for outside, inside in zip(target, inner, strict=True):
        length = min(outside, inside)
        first, skipped = (outside - length) // 2, (inside - length) // 2
        into.append(slice(first, first + length))
        out_of.append(slice(skipped, skipped + length))
    return (into[0], into[1]), (out_of[0], out_of[1])


def resize(pixels: torch.Tensor, size: tuple[int, int], kernel: str) -> torch.Tensor:
    """Return uint8 ``(N, 3, H, W)`` at ``size`` (height, width) in px, antialiased; itself if that is its size.

    Never an area average: it would throw away 1 dB of what the network gained.
    """
    import torch
    from torch.nn import functional

    if tuple(pixels.shape[-2:]) == size:
        return pixels
    if not pixels.is_cuda:
        return functional.interpolate(pixels, size, mode=kernel, antialias=True)
    if kernel == "lanczos":  # torch has it for the CPU only
        from deployments.nets.lanczos import resample

        large = resample(pixels.float(), *size)
    else:
        large = functional.interpolate(pixels.float(), size, mode=kernel, antialias=True)
    return large.round_().clamp_(0, 255).to(torch.uint8)


def _resolve(dtype: str, device: str) -> torch.dtype:
    import torch

    if device == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        is_native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    if dtype == "auto":
        return torch.bfloat16 if is_native else torch.float32
    return torch.bfloat16 if dtype == "bf16" else torch.float32


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # The CPU allocator and oneDNN (which wants memory for its machine code too) have no exception type of their own.
    says_so = any(words in str(error) for words in ("can't allocate memory", "could not create a primitive"))
    return says_so or isinstance(error, torch.OutOfMemoryError | MemoryError)
