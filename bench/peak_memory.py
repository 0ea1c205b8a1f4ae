"""How much memory does a 97-frame clip take from 720p to 1080p, beyond weights? In chunks, and whole.

    python -m bench.peak_memory [chunks | whole | both] [upscale.edsr | upscale.lanczos]

The sum over all replicas of the pages that each has for itself (USS), less what they had when they were loaded and
idle, and what the object store holds: sampled all the time, of which the highest is reported. The generator is the
animatic, the upscaler the bundled EDSR unless another is named; both judges are `judge.fidelity`.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.cluster import served
from bench.record import emit
from serve_app.commands.demo import PHOTO

LIMIT_BYTES = 1_200_000_000
STORE_BYTES = 3000 << 20
_EVERY_S = 0.1
PIPELINE = """
version: 1
name: peak
inputs: {prompt: text, image: image, seed: seed}
nodes:
  draft:
    use: generate.animatic
    with: {width: 1280, height: 720, frames: 97, fps: 24}
    take: {prompt: $prompt, seed: $seed, image: $image}
  judge: {use: judge.fidelity, take: {clip: draft, image: $image}}
  gate: {use: gate.verdict, with: {on_fail: warn}, take: {clip: draft, score: judge}}
  upscale: {use: UPSCALER, with: {width: 1920, height: 1080}, take: {clip: gate}}
  final_judge: {use: judge.fidelity, take: {clip: upscale, image: $image}}
  final_gate: {use: gate.verdict, with: {on_fail: warn}, take: {clip: upscale, score: final_judge}}
  encode: {use: encode.video, take: {clip: final_gate}}
outputs: {video: encode, score: final_judge}
"""


@dataclass
class Peak:
    """The highest sum seen, and what it was made of; all in bytes beyond idle."""

    total: int = 0
    replicas: int = 0
    store: int = 0
    store_alone: int = 0
    of: dict[str, int] = field(default_factory=dict)
    is_cut_short: bool = False
    """Whether a replica died on the way, so that the figures say nothing."""


def replicas() -> dict[str, psutil.Process]:
    """Return the idle replicas of the application, by deployment."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        title = " ".join(process.info["cmdline"] or [])
        if "ServeReplica:greenlight:" in title:
            found[title.rpartition(":")[2].split()[0]] = process
    return found


def store_bytes() -> int:
    """Return what the node's object store holds."""
    import ray
    from ray._private.internal_api import node_stats

    (node,) = ray.nodes()
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return int(stats.store_stats.object_store_bytes_used)


@contextlib.contextmanager
def watched(processes: dict[str, psutil.Process]) -> Iterator[Peak]:
    """Sample until the end of the block."""
    peak, is_over = Peak(), threading.Event()
    idle = {name: process.memory_full_info().uss for name, process in processes.items()}
    held = store_bytes()

    def sample() -> None:
        while not is_over.wait(_EVERY_S):
            try:
                grown = {name: process.memory_full_info().uss - idle[name] for name, process in processes.items()}
            except psutil.NoSuchProcess:
                peak.is_cut_short = True
                return
            store = store_bytes() - held
            peak.store_alone = max(peak.store_alone, store)
            if sum(grown.values()) + store > peak.total:
                peak.total, peak.replicas, peak.store = sum(grown.values()) + store, sum(grown.values()), store
                peak.of = grown

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def measure(case: str, upscaler: str, chunk_frames: int | None) -> int:
    """Emit the peak of one run, and return it in bytes."""
    with tempfile.TemporaryDirectory() as directory:
        pipeline = Path(directory) / "peak.yaml"
        pipeline.write_text(PIPELINE.replace("UPSCALER", upscaler))
        settings: dict[str, Any] = {"streaming": {"chunk_frames": chunk_frames}}
        with served([pipeline], STORE_BYTES, settings) as (client, _), watched(replicas()) as peak:
            began = time.perf_counter()
            run_id = client.submit("peak", {"prompt": "push in", "image": PHOTO, "seed": 1}, {"budget_s": 3600})
            last = list(client.follow(run_id))[-1]
            if last.kind != "succeeded" or peak.is_cut_short:
                raise RuntimeError(f"the run ended as {last}, or a replica died")
            seconds = time.perf_counter() - began
    parts = {f"{name.replace('.', '_')}_bytes": value for name, value in sorted(peak.of.items())}
    sums = {"peak_bytes": peak.total, "replicas_bytes": peak.replicas, "store_bytes": peak.store}
    sums["highest_store_bytes"] = peak.store_alone
    emit("peak_memory", case=f"{upscaler}, {case}", **sums, run_s=seconds, **parts)
    return peak.total


def main() -> int:
    """Measure, print JSON lines, and return 1 when the limit is broken."""
    what, upscaler = (*sys.argv[1:], *("both", "upscale.edsr")[len(sys.argv) - 1 :])
    is_kept = True
    if what in ("chunks", "both"):
        peak = measure("chunks of 16", upscaler, 16)
        is_kept = peak < LIMIT_BYTES
        emit("peak_memory", case="limit", peak_bytes=peak, limit_bytes=LIMIT_BYTES, is_kept=is_kept)
    if what in ("whole", "both"):
        measure("whole clips", upscaler, None)
    return int(not is_kept)


if __name__ == "__main__":
    raise SystemExit(main())
