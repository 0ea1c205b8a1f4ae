"""How fast does a replica change adapters? Ours and diffusers' own (PEFT), in turns, on one LTX-2 shape in bf16.

    python -m bench.adapter_swap [ROUNDS]

Cold: from a file to a model that applies it; ours has then probed every layer. Switch: from one loaded adapter to
another. Bake and restore: into the weights, and the base back. Pass: every adapted layer once, over TOKENS tokens.
Break-even: the passes after which the unfused terms have cost what baking and restoring cost, which is when
`Weights.adapters: auto` bakes. The figures are medians of ROUNDS; each round takes a fresh model for diffusers, which
leaves its wrappers behind.
"""

from __future__ import annotations

import copy
import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from safetensors.torch import save_file

from bench.record import emit
from deployments.nets.lora.apply import Baked, Unfused
from deployments.nets.lora.loaded import Loaded, Seat, Source, load
from deployments.nets.lora.places import Base

SWITCH_FACTOR = 5.0
SWITCHES = 9
CPU = torch.device("cpu")
CASES = ((64, torch.bfloat16), (175, torch.bfloat16), (64, torch.float8_e4m3fn), (175, torch.float8_e4m3fn))
STRENGTH = 0.65
TOKENS = 512


@dataclass(frozen=True)
class Files:
    """Two adapters of one kind for every block's layers, and how many layers that is."""

    first: Path
    second: Path
    layers: int


def model() -> torch.nn.Module:
    """Return a transformer of LTX-2's shape with about 300 million parameters, in bf16."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: torch.nn.Module = LTX2VideoTransformer3DModel(
            num_layers=12,
            num_attention_heads=16,
            attention_head_dim=64,
            cross_attention_dim=1024,
            audio_num_attention_heads=16,
            audio_attention_head_dim=32,
            audio_cross_attention_dim=512,
            caption_channels=512,
            rope_type="split",
        )
    return torch.nn.Module.to(made, torch.bfloat16).eval().requires_grad_(False)


def files(base: torch.nn.Module, rank: int, dtype: torch.dtype, directory: Path) -> Files:
    """Write two adapters of ``rank`` for every linear layer of every block."""
    layers = {
        name: layer
        for name, layer in base.named_modules()
        if name.startswith("transformer_blocks.") and isinstance(layer, torch.nn.Linear)
    }
    paths = []
    for seed in (1, 2):
        generator, tensors = torch.Generator().manual_seed(seed), dict[str, torch.Tensor]()
        for name, layer in layers.items():
            down = torch.randn(rank, layer.in_features, generator=generator) / math.sqrt(layer.in_features)
            up = torch.randn(layer.out_features, rank, generator=generator) / math.sqrt(rank)
            tensors[f"transformer.{name}.lora_A.weight"] = down.to(dtype)
            tensors[f"transformer.{name}.lora_B.weight"] = up.to(dtype)
        paths.append(directory / f"rank{rank}-{str(dtype).removeprefix('torch.')}-{seed}.safetensors")
        save_file(tensors, paths[-1])
    return Files(paths[0], paths[1], len(layers))


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor's time that one call takes, which a busy machine does not lengthen; files are cached."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ours(base: torch.nn.Module, given: Files) -> dict[str, float]:
    """Return the seconds of each deed with our loader; the model is the base again afterwards."""
    parts = {"transformer": base}
    found: list[Loaded] = []

    def cold() -> None:
        loaded = load(Source(given.first, "first"), Base("ltx2", parts), parts, Seat(CPU, torch.bfloat16))
        unfused = Unfused(parts, [(loaded, STRENGTH)])
        with unfused.applied():
            found.append(loaded)
            assert unfused.silent(CPU) == []

    times = {"cold_s": seconds_of(cold)}
    second = load(Source(given.second, "second"), Base("ltx2", parts), parts, Seat(CPU, torch.bfloat16))

    def switch() -> None:
        with Unfused(parts, [(second, STRENGTH)]).applied():
            pass

    times["switch_s"] = statistics.median(seconds_of(switch) for _ in range(SWITCHES))
    times["adapter_bytes"] = float(found[0].size_bytes)
    times["base_pass_s"] = pass_s(list(found[0].layers.values()))
    with Unfused(parts, [(found[0], STRENGTH)]).applied():
        times["unfused_pass_s"] = pass_s(list(found[0].layers.values()))
    kept = load(Source(given.first, "first"), Base("ltx2", parts), parts, Seat(CPU, None))
    baked = Baked(parts, CPU)
    times["bake_s"] = seconds_of(lambda: baked.hold("first", [(kept, STRENGTH)]))
    times["baked_pass_s"] = pass_s(list(found[0].layers.values()))
    times["restore_s"] = seconds_of(baked.release)
    return times


def pass_s(layers: Sequence[torch.nn.Module]) -> float:
    """Return how long every layer takes, one after another, over TOKENS tokens; the median of three."""
    inputs = {int(width): torch.randn(TOKENS, int(width), dtype=torch.bfloat16) for width in map(_width, layers)}

    def work() -> None:
        with torch.no_grad():
            for layer in layers:
                layer(inputs[_width(layer)])

    return statistics.median(seconds_of(work) for _ in range(3))


def _width(layer: torch.nn.Module) -> int:
    assert isinstance(layer, torch.nn.Linear)
    return layer.in_features


def theirs(base: torch.nn.Module, given: Files) -> dict[str, float]:
    """Return the seconds of each deed with diffusers and PEFT, on a model that is thrown away."""
    own: Any = copy.deepcopy(base)

    def cold() -> None:
        own.load_lora_adapter(str(given.first), adapter_name="first_one", prefix="transformer")
        own.set_adapters(["first_one"], [STRENGTH])

    times = {"cold_s": seconds_of(cold)}
    own.load_lora_adapter(str(given.second), adapter_name="second_one", prefix="transformer")
    names = ["second_one", "first_one"] * SWITCHES
    times["switch_s"] = statistics.median(
        seconds_of(partial(own.set_adapters, [name], [STRENGTH])) for name in names[:SWITCHES]
    )
    own.set_adapters(["first_one"], [STRENGTH])
    times["bake_s"] = seconds_of(lambda: own.fuse_lora(adapter_names=["first_one"]))
    times["restore_s"] = seconds_of(own.unfuse_lora)
    return times


def main() -> int:
    """Measure, print JSON lines, and return 1 unless a switch is five times as fast and a cold load no slower."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    base, failed = model(), False
    parameters = sum(parameter.numel() for parameter in base.parameters())
    with tempfile.TemporaryDirectory() as directory:
        for rank, dtype in CASES:
            given = files(base, rank, dtype, Path(directory))
            times: dict[str, list[float]] = defaultdict(list)
            for _ in range(rounds):
                for who, measure in (("ours", ours), ("diffusers", theirs)):
                    for deed, figure in measure(base, given).items():
                        times[f"{who}_{deed}"].append(figure)
            figures = {name: statistics.median(values) for name, values in times.items()}
            rent = figures["ours_unfused_pass_s"] - figures["ours_base_pass_s"]
            price = figures["ours_bake_s"] + figures["ours_restore_s"]
            figures |= {"unfused_cost": rent / figures["ours_base_pass_s"], "break_even_passes": price / rent}
            switch = figures["diffusers_switch_s"] / figures["ours_switch_s"]
            cold = figures["diffusers_cold_s"] / figures["ours_cold_s"]
            failed = failed or switch < SWITCH_FACTOR or cold < 1
            name = f"rank {rank}, {str(dtype).removeprefix('torch.')}"
            shape = {"parameters": parameters, "layers": given.layers, "file_bytes": given.first.stat().st_size}
            emit("adapter_swap", case=name, rounds=rounds, **shape, **figures, switch_factor=switch, cold_factor=cold)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
