"""How close does the denoising of an LTX-2 19B come to what its GPU could do? Random weights of the real shape.

    python -m bench.ltx2_shape [--tiny]

Needs torch and diffusers alone, and a CUDA device with 48 GiB free; ``--tiny`` runs the same code on a CPU with a small
shape, to show that it runs, and its figures mean nothing. The rival is the transformer as diffusers gives it: eager,
no option set. A pass at 1280x736x97 is 442 TFLOP (counted on the real configuration), and the best that was measured of
an H200 in bf16 is 790 TFLOP/s: 5.6 s for ten steps, the floor that ``floor_share`` is a share of.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel

from bench.record import emit

_ROUNDS = 3
_BEST_TFLOPS = 790.0
_SOUND_LATENTS_PER_S = 25


@dataclass(frozen=True)
class Shape:
    """What is denoised, and by what: a clip in px and frames, tokens of text, and the transformer's own numbers."""

    name: str
    width: int
    height: int
    frames: int
    text: int
    config: dict[str, Any]
    pass_tflop: float | None
    """Of one pass of the transformer; None where nobody counted."""
    device: str
    dtype: torch.dtype
    compiler: str

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns."""
        return (self.frames - 1) // 8 + 1, self.height // 32, self.width // 32

    @property
    def sound(self) -> int:
        """Latents of the sound, at 24 frames/s."""
        return round(self.frames / 24 * _SOUND_LATENTS_PER_S)


REAL = Shape("19B", 1280, 736, 97, 1024, {"rope_type": "split"}, 442.0, "cuda", torch.bfloat16, "inductor")
_SMALL = {
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "cross_attention_dim": 32,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 16,
    "audio_cross_attention_dim": 32,
    "caption_channels": 32,
    "rope_type": "split",
}
TINY = Shape("tiny", 64, 64, 9, 16, _SMALL, None, "cpu", torch.float32, "eager")


def main(arguments: list[str]) -> int:
    """Print one line per case and count of steps; 2 without a CUDA device."""
    parser = argparse.ArgumentParser(prog="bench.ltx2_shape")
    parser.add_argument("--tiny", action="store_true", help="a small shape on the CPU: shows that it runs")
    shape = TINY if parser.parse_args(arguments).tiny else REAL
    if shape.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("bench.ltx2_shape: no CUDA device; --tiny runs on a CPU\n")
        return 2
    torch.manual_seed(0)
    with torch.device(shape.device):  # not beyond: a compiled block cannot be traced inside it
        net = _network(shape)
        call = _call(shape, net)
    with torch.no_grad():
        eager = {steps: _measure(shape, net, call, steps, "eager", None) for steps in (8, 10)}
        net.compile_repeated_blocks(fullgraph=True, backend=shape.compiler)
        began = time.perf_counter()
        _denoise(net, call, 1)
        _wait(shape)
        emit("ltx2_shape", case=f"{shape.name} compile", first_pass_s=time.perf_counter() - began)
        for steps in (8, 10):
            _measure(shape, net, call, steps, "compiled", eager[steps])
    return 0


def _network(shape: Shape) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(shape.dtype)
    try:
        return LTX2VideoTransformer3DModel(**shape.config).eval()
    finally:
        torch.set_default_dtype(before)


def _call(shape: Shape, net: Any) -> dict[str, Any]:
    """Return what a pipeline gives the transformer for text alone, batch 1: noise, and noise for a prompt."""
    count, rows, columns = shape.grid
    config = net.config

    def noise(tokens: int, width: int) -> torch.Tensor:
        return torch.randn(1, tokens, width, dtype=shape.dtype)

    return {
        "hidden_states": noise(count * rows * columns, config.in_channels),
        "audio_hidden_states": noise(shape.sound, config.audio_in_channels),
        "encoder_hidden_states": noise(shape.text, config.caption_channels),
        "audio_encoder_hidden_states": noise(shape.text, config.caption_channels),
        "encoder_attention_mask": torch.ones(1, shape.text, dtype=torch.int64),
        "audio_encoder_attention_mask": torch.ones(1, shape.text, dtype=torch.int64),
        "num_frames": count,
        "height": rows,
        "width": columns,
        "fps": 24.0,
        "audio_num_frames": shape.sound,
        "return_dict": False,
    }


def _denoise(net: Any, call: dict[str, Any], steps: int) -> bool:
    """Take ``steps`` steps of Euler, one pass each, as with all guidance off; return whether all stayed finite."""
    video, sound = call["hidden_states"], call["audio_hidden_states"]
    sigmas = torch.linspace(1, 0, steps + 1).tolist()
    for sigma, after in pairwise(sigmas):
        level = torch.full((1,), sigma * 1000, device=video.device)
        moved = {"hidden_states": video, "audio_hidden_states": sound, "timestep": level, "audio_timestep": level}
        flow, sound_flow = net(**{**call, **moved})
        video, sound = video + (after - sigma) * flow, sound + (after - sigma) * sound_flow
    return bool(torch.isfinite(video).all() & torch.isfinite(sound).all())


def _measure(shape: Shape, net: Any, call: dict[str, Any], steps: int, case: str, rival_s: float | None) -> float:
    """Print a case and return its median seconds; ``rival_s`` are those of eager diffusers in the same run."""
    is_finite = _denoise(net, call, 1)
    if shape.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = statistics.median(_timed(shape, lambda: _denoise(net, call, steps)) for _ in range(_ROUNDS))
    figures: dict[str, Any] = {"steps": steps, "total_s": seconds, "step_s": seconds / steps, "is_finite": is_finite}
    if shape.pass_tflop is not None:
        floor_s = shape.pass_tflop * steps / _BEST_TFLOPS
        figures |= {"tflops": shape.pass_tflop * steps / seconds, "floor_s": floor_s, "floor_share": floor_s / seconds}
    if rival_s is not None:
        figures["rival_ratio"] = rival_s / seconds
    if shape.device == "cuda":
        figures |= {"peak_bytes": torch.cuda.max_memory_allocated(), "device": torch.cuda.get_device_name()}
    emit("ltx2_shape", case=f"{shape.name} {shape.width}x{shape.height}x{shape.frames} {case}", **figures)
    return seconds


def _timed(shape: Shape, work: Callable[[], object]) -> float:
    _wait(shape)
    began = time.perf_counter()
    work()
    _wait(shape)
    return time.perf_counter() - began


def _wait(shape: Shape) -> None:
    if shape.device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
