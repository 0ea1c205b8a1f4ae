"""How close is EDSR baseline (16 blocks of 64) to what this CPU's matrix units can do? `python -m bench.edsr_fps`

The ceiling is this machine's own bf16 matrix product, measured in the same process and in turn with the network, on one
thread, in process CPU time, medians over rounds: neighbours on a shared machine slow all alike. The rivals carry out
the same weights: plain PyTorch (float32, channels first), OpenCV's dnn and ONNX Runtime (float32, by way of ONNX). The
last lines are whole frames through the stage, 1280x720 to 1920x1080, with the bundled networks. Needs the extra
`bench`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from torch import Tensor

from bench.edsr_onnx import write
from bench.record import emit
from deployments.nets.edsr import BASELINE, BUILTIN, BUILTIN_X1_5, Edsr, flops
from deployments.upscale.edsr import Edsr as Stage
from serve_app.core.media import Clip
from tests.deployments.desk import DeskContext

HEIGHT, WIDTH = 180, 320
ROUNDS = 7
MATRIX_SIDES = (1024, 2048, 3072)
ACCEPTED_SHARE = 0.90
OURS = "edsr 16x64, bf16, channels last"
NAIVE = "edsr 16x64, fp32, channels first (plain PyTorch)"
RUNTIMES = ("edsr 16x64, fp32, cv2.dnn", "edsr 16x64, fp32, ONNX Runtime")

Work = Callable[[], object]


def rate(work: Work, operations: float, repeats: int = 1) -> float:
    """Return the GFLOP per second of CPU time that ``repeats`` runs of ``work``, of ``operations`` each, reach."""
    started = time.process_time()
    for _ in range(repeats):
        work()
    return repeats * operations / (time.process_time() - started) / 1e9


def networks() -> dict[str, Work]:
    """Return the ways to run one network on one frame, by name."""
    torch.manual_seed(0)
    frame = torch.rand(1, 3, HEIGHT, WIDTH)
    last = frame.contiguous(memory_format=torch.channels_last)
    plain = Edsr(BASELINE).eval()
    copies = [Edsr(BASELINE).eval() for _ in range(2)]
    for copy in copies:
        copy.load_state_dict(plain.state_dict())
    exact = copies[0].channels_last()
    ours = copies[1].channels_last().computing_in(torch.bfloat16)
    by_opencv, by_onnx = _runtimes(plain, frame)
    return {
        OURS: lambda: ours(last),
        "edsr 16x64, fp32, channels last": lambda: exact(last),
        NAIVE: lambda: plain(frame),
        RUNTIMES[0]: by_opencv,
        RUNTIMES[1]: by_onnx,
    }


def _runtimes(network: Edsr, frame: Tensor) -> tuple[Work, Work]:
    """Return the network in OpenCV and in ONNX Runtime, one thread each, after seeing that they give the same."""
    cv2.setNumThreads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "edsr.onnx"
        write(network, path)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        net = cv2.dnn.readNetFromONNX(str(path))
    array = frame.numpy()

    def by_opencv() -> object:
        net.setInput(array)
        return net.forward()

    def by_onnx() -> object:
        return session.run(None, {"x": array})[0]

    expected = network(frame).numpy()
    for given in (by_opencv(), by_onnx()):
        if np.abs(np.asarray(given) - expected).max() > 1e-2 * np.abs(expected).max():
            raise ValueError("a runtime gives something else")
    return by_opencv, by_onnx


def contenders() -> dict[str, Callable[[], float]]:
    """Return what is measured, by name, each giving its rate in GFLOP/s."""
    operations = flops(BASELINE, HEIGHT, WIDTH)

    def product(side: int) -> Callable[[], float]:
        matrix = torch.rand(side, side).bfloat16()
        repeats = max(1, round(5e10 / (2 * side**3)))  # about a quarter of a second
        return lambda: rate(lambda: matrix @ matrix, 2 * side**3, repeats)

    def running(work: Work) -> Callable[[], float]:
        return lambda: rate(work, operations)

    products = {f"matmul bf16 {side}": product(side) for side in MATRIX_SIDES}
    return {**products, **{name: running(work) for name, work in networks().items()}}


def in_turn(measured: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what each gave in every round but a first, which warms up; they take turns."""
    found: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(rounds + 1):
        for name, measure in measured.items():
            value = measure()
            if number:
                found[name].append(value)
    return found


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median over rounds of ``above`` by ``below``, which were measured next to each other."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def whole_frames() -> None:
    """Write what a frame of 1280x720 costs at 1920x1080, by twice and back and at once."""
    params = Stage.Params(width=1920, height=1080)
    clip = Clip(np.random.default_rng(0).integers(0, 256, (1, 720, 1280, 3), np.uint8), Fraction(24), "bench")
    with tempfile.TemporaryDirectory() as directory:
        stages: dict[str, Callable[[], float]] = {}
        for name, path in (("x2, then Lanczos", BUILTIN["small"]), ("x1.5", BUILTIN_X1_5)):
            stage = Stage()
            stage.load(Stage.Weights(file=str(path)), DeskContext(Path(directory)))
            stages[name] = _seconds_of(stage, params, clip)
        found = in_turn(stages, ROUNDS)
    for name, seconds in found.items():
        emit("edsr_fps", case=f"small, 720p to 1080p, {name}", cpu_s_per_frame=statistics.median(seconds), **_load())


def _seconds_of(stage: Stage, params: Stage.Params, clip: Clip) -> Callable[[], float]:
    return lambda: 1 / rate(lambda: stage.run(params, clip=clip), 1e9)


def _load() -> dict[str, float]:
    return {"load_1min": os.getloadavg()[0]}


def main() -> int:
    """Measure, in turn, and write one line per contender and one with the answer; return 1 if it is not accepted."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        found = in_turn(contenders(), ROUNDS)
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    for name, gflops in medians.items():
        emit("edsr_fps", case=name, gflop_per_cpu_s=gflops, **_load())
    peak = max((name for name in medians if name.startswith("matmul")), key=medians.__getitem__)
    share = ratio(found[OURS], found[peak])
    times = {rival: ratio(found[OURS], found[rival]) for rival in (NAIVE, *RUNTIMES)}
    is_accepted = share >= ACCEPTED_SHARE and all(times[rival] >= 1 for rival in RUNTIMES)
    emit(
        "edsr_fps",
        case="fraction of peak",
        fraction=share,
        accepted=is_accepted,
        peak=peak,
        times_plain_pytorch=times[NAIVE],
        times_cv2_dnn=times[RUNTIMES[0]],
        times_onnx_runtime=times[RUNTIMES[1]],
        cpu_s_per_720p_frame=flops(BASELINE, 720, 1280) / medians[OURS] / 1e9,
        **_load(),
    )
    whole_frames()
    return 0 if is_accepted else 1


if __name__ == "__main__":
    sys.exit(main())
