"""How close is EDSR baseline (16 blocks of 64) to what this CPU's matrix units can do? `python -m bench.edsr_fps`

The ceiling is this machine's own bf16 matrix product, measured in the same process and in turn with the network, on one
thread, in process CPU time, medians over rounds: neighbours on a shared machine slow both alike. The rival is the same
network as plain PyTorch runs it: float32, channels first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.record import emit
from deployments.nets.edsr import BASELINE, Edsr, flops

HEIGHT, WIDTH = 180, 320
ROUNDS = 7
MATRIX_SIDES = (1024, 2048, 3072)
ACCEPTED_FRACTION = 0.85


def rate(work: Callable[[], Tensor], operations: float, repeats: int = 1) -> float:
    """Return the GFLOP per second of CPU time that ``repeats`` runs of ``work``, of ``operations`` each, reach."""
    started = time.process_time()
    for _ in range(repeats):
        work()
    return repeats * operations / (time.process_time() - started) / 1e9


def contenders() -> dict[str, Callable[[], float]]:
    """Return what is measured, by name, each giving its rate in GFLOP/s."""
    torch.manual_seed(0)
    frame = torch.rand(1, 3, HEIGHT, WIDTH)
    plain = Edsr(BASELINE).eval()
    ours = Edsr(BASELINE).eval().channels_last()
    frame_last = frame.contiguous(memory_format=torch.channels_last)
    operations = flops(BASELINE, HEIGHT, WIDTH)

    def bf16() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            enlarged: Tensor = ours(frame_last)
        return enlarged

    def product(side: int) -> Callable[[], float]:
        matrix = torch.rand(side, side).bfloat16()
        repeats = max(1, round(5e10 / (2 * side**3)))  # about a quarter of a second
        return lambda: rate(lambda: matrix @ matrix, 2 * side**3, repeats)

    products = {f"matmul bf16 {side}": product(side) for side in MATRIX_SIDES}
    return {
        **products,
        "edsr 16x64 bf16 channels last": lambda: rate(bf16, operations),
        "edsr 16x64 fp32 channels first": lambda: rate(lambda: plain(frame), operations),
    }


def main() -> None:
    """Measure, in turn, and write one line per contender and one with the answer."""
    torch.set_num_threads(1)
    measured = contenders()
    rounds: dict[str, list[float]] = {name: [] for name in measured}
    with torch.inference_mode():
        for number in range(ROUNDS + 1):
            for name, measure in measured.items():
                gflops = measure()
                if number:  # the first round warms up
                    rounds[name].append(gflops)
    medians = {name: statistics.median(rates) for name, rates in rounds.items()}
    for name, gflops in medians.items():
        emit("edsr_fps", case=name, gflop_per_cpu_s=gflops)
    *products, ours, rival = medians
    peak = max(products, key=medians.__getitem__)
    fraction = statistics.median(net / top for net, top in zip(rounds[ours], rounds[peak], strict=True))
    ratio = statistics.median(net / plain for net, plain in zip(rounds[ours], rounds[rival], strict=True))
    emit(
        "edsr_fps",
        case="fraction of peak",
        fraction=fraction,
        accepted=fraction >= ACCEPTED_FRACTION,
        peak=peak,
        times_rival=ratio,
        rival=f"PyTorch {rival.removeprefix('edsr ')}",
        cpu_s_per_720p_frame=flops(BASELINE, 720, 1280) / medians[ours] / 1e9,
    )


if __name__ == "__main__":
    main()
