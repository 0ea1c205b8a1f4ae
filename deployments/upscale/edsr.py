"""EDSR super-resolution, then antialiased resampling to the exact size that was asked for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from deployments.nets.sizing import Fitting, Size, Target, fitted
from serve_app.core import digest
from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.media import Clip, Pixels
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    import torch

    from deployments.nets.edsr_engine import Engine
    from deployments.nets.edsr_files import Found


class Edsr:
    """Enlarge every frame on its own: the same frame gives the same bytes, wherever in a clip it stands."""

    is_chunkwise = True

    class Weights(Strict):
        """The network, its units, and how it is computed."""

        file: str = Field(
            "small",
            description="`small`, the bundled networks (x2, and x1.5 where that is enough), or a file: safetensors of "
            "ours, a checkpoint of EDSR-PyTorch, super-image or BasicSR, or OpenCV's `.pb`.",
        )
        convention: Literal["auto", "edsr-pytorch", "basicsr", "super-image", "opencv"] = Field(
            "auto", description="Range, mean and order of channels that somebody else's weights were trained in."
        )
        residual_scale: float | None = Field(
            None, gt=0, le=1, description="Of somebody else's weights; without it 0.1 from 256 channels on, else 1."
        )
        dtype: Literal["auto", "bf16", "fp16", "fp32"] = Field(
            "auto", description="Of the convolutions; `auto` is bf16 where the device computes in it, else fp32."
        )
        execution: Literal["auto", "eager", "graph", "compile"] = Field(
            "auto",
            description="`graph`: recorded once per size of frame, on a GPU; `auto` is that there, else `eager`.",
        )

    class Params(Target):
        """The size to deliver in px. Without one, the network's own: twice the input for the bundled weights."""

    def load(self, weights: Weights, context: Context) -> None:
        """Read the network. Raise Misconfigured naming the field that is wrong: no EDSR, or in other units."""
        from deployments.nets import edsr
        from deployments.nets.conveyor import Conveyor

        self._context, self._conveyor = context, Conveyor(context.device)
        self._dtype = _resolve(weights.dtype, context.device)
        how = _execution(weights.execution, context.device)
        paths = (edsr.BUILTIN["small"], edsr.BUILTIN_X1_5) if weights.file == "small" else (Path(weights.file),)
        found = [_read(path, weights) for path in paths]
        self._doubts = [each.doubt for each in found if each.doubt is not None]
        self._origins = [{**each.facts, "weights": _digest(path)} for each, path in zip(found, paths, strict=True)]
        self._engines = [_engine(each, self._dtype, context.device, how) for each in found]

    def run(self, params: Params, *, clip: Clip) -> Clip:
        """Return ``clip`` at exactly ``params.width`` x ``params.height`` px: uint8 RGB ``(T, height, width, 3)``.

        Any input size. T, fps, audio and model are those of ``clip``, whose frames are only read.
        Raise OutOfMemory naming the smallest tile that failed, and Cancelled between two frames.
        """
        import torch

        from deployments.nets.lanczos import resize

        torch.set_num_threads(self._context.threads)
        chosen, plan = self._choose((clip.shape.height, clip.shape.width), params)
        engine = self._engines[chosen]
        self._report(chosen, plan, params)

        def work(pixels: torch.Tensor) -> torch.Tensor:
            channels_first = pixels.permute(0, 3, 1, 2)
            large = engine.enlarge(channels_first, params.chunk, self._context.check, self._context.warn)
            return resize(large, plan.inner, params.filter).permute(0, 2, 3, 1)

        frames: Pixels = np.zeros((clip.shape.frames, *plan.target, 3), np.uint8)
        done = 0
        with torch.inference_mode():
            for part in self._conveyor.carry(clip.frames, params.chunk, work):
                frames[done : done + len(part), plan.into[0], plan.into[1]] = part[:, plan.out_of[0], plan.out_of[1]]
                done += len(part)
                self._context.progress(done, len(frames))
        return replace(clip, frames=frames)

    def _choose(self, size: Size, params: Params) -> tuple[int, Fitting]:
        """Return which network to use: the one that enlarges least and yet enough, else the first; and its fitting."""
        plans = [_fitting(size, engine.network.config.ratio, params) for engine in self._engines]
        if params.width is None and params.height is None:
            return 0, _exactly(plans[0])
        enough = [
            (engine.network.config.ratio, number)
            for number, (engine, plan) in enumerate(zip(self._engines, plans, strict=True))
            if plan is not None and not plan.is_enlarging
        ]
        number = min(enough)[1] if enough else 0
        return number, _exactly(plans[number])

    def _report(self, chosen: int, plan: Fitting, params: Params) -> None:
        engine, (height, width) = self._engines[chosen], plan.own
        dtype = str(self._dtype).removeprefix("torch.")
        ratio = float(engine.network.config.ratio)
        facts = {**self._origins[chosen], "dtype": dtype, "network_px": [width, height], "scale": ratio}
        self._context.note("edsr", facts)
        for doubt in self._doubts:
            self._context.warn(doubt)
        if plan.is_enlarging:
            size = f"{plan.inner[1]}x{plan.inner[0]}"
            self._context.warn(f"the network enlarges to {width}x{height} px; from there to {size} is interpolated")
        if said := plan.said(params.fit):
            self._context.warn(said)
        if engine.tile_px is not None:
            self._context.warn(engine.tiles_in_words("an earlier frame"))


def _fitting(size: Size, ratio: Fraction, params: Edsr.Params) -> Fitting | None:
    """Return how a network's output becomes the target; None for sides that it cannot enlarge to whole px."""
    height, width = (side * ratio for side in size)
    if height.denominator != 1 or width.denominator != 1:
        return None
    return fitted((int(height), int(width)), params)


def _exactly(plan: Fitting | None) -> Fitting:
    """Return ``plan``; raise InvalidInput for a clip whose sides the only network cannot enlarge."""
    if plan is None:
        raise InvalidInput("clip", "its sides are odd, and the network enlarges by 1.5")
    return plan


def _read(path: Path, weights: Edsr.Weights) -> Found:
    from deployments.nets.edsr_files import Wish, read

    wish = Wish(None if weights.convention == "auto" else weights.convention, weights.residual_scale)
    try:
        return read(path, wish)
    except (OSError, ValueError) as error:
        raise Misconfigured("weights.file", str(error)) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return digest.of_stream(file)


def _engine(found: Found, dtype: torch.dtype, device: str, how: Literal["eager", "graph", "compile"]) -> Engine:
    import torch

    from deployments.nets.edsr_engine import Engine
    from deployments.nets.edsr_probe import ALLOWED_LOSS_DB, gain_db

    network = found.network.computing_in(dtype)
    engine = Engine(network, device, how)
    if dtype is torch.float16 and gain_db(network) < -ALLOWED_LOSS_DB:
        raise Misconfigured("weights.dtype", "the network's values leave fp16's range; use bf16 or fp32")
    return engine


def _execution(execution: str, device: str) -> Literal["eager", "graph", "compile"]:
    if execution == "graph" and device != "cuda":
        raise Misconfigured("weights.execution", f"`graph` records CUDA kernels, and the device is {device}")
    if execution == "auto":
        return "graph" if device == "cuda" else "eager"
    if execution == "graph":
        return "graph"
    return "compile" if execution == "compile" else "eager"


def _resolve(dtype: str, device: str) -> torch.dtype:
    import torch

    if device == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        is_native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    if dtype == "auto":
        return torch.bfloat16 if is_native else torch.float32
    if dtype == "fp16" and device != "cuda":
        raise Misconfigured("weights.dtype", f"`fp16` is for GPUs, and the device is {device}; use bf16 or fp32")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
