"""Do frames pass through the runner or the ingress? Peak resident memory of both while 97 frames of 720p go through.

    python -m bench.media_hop

The rival, in the same run: a driver that awaits each clip and passes it on by value, as a naive composition does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import psutil

from bench.cluster import served
from bench.record import emit
from serve_app.commands.demo import PHOTO

CLIPS = 3
LIMIT_MIB = 300.0
MIB = 1 << 20
PIPELINE = """
version: 1
name: hop
inputs: {prompt: text, image: image, seed: seed}
nodes:
  draft:
    use: generate.animatic
    with: {width: 1280, height: 720, frames: 97, fps: 24}
    take: {prompt: $prompt, seed: $seed, image: $image}
  judge: {use: judge.fidelity, take: {clip: draft, image: $image}}
  gate: {use: gate.verdict, take: {clip: draft, score: judge}}
  encode: {use: encode.video, with: {preset: ultrafast}, take: {clip: gate}}
outputs: {video: encode, score: judge}
"""


def peak_mib(title: str) -> float:
    """Return the peak resident memory of the one replica of a deployment, in MiB, as the kernel counted it."""
    (process,) = [p for p in psutil.process_iter(["cmdline"]) if f"ServeReplica:greenlight:{title}" in _command(p)]
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])


def naive_peak_mib() -> float:
    """Return the peak resident memory of an actor that awaits ``CLIPS`` clips and hands them on by value."""
    import numpy as np
    import ray

    @ray.remote(num_cpus=0.1)
    class Naive:
        def drive(self, clips: int) -> float:
            for _ in range(clips):
                clip: Any = ray.get(_make.remote())  # awaited: now it is in this process ...
                ray.get(_take.remote(np.array(clip)))  # ... and is copied into the store again to leave it
            line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
            return int(line.split()[1]) / 1024

    @ray.remote(num_cpus=0.1)  # type: ignore[untyped-decorator]
    def _make() -> Any:
        return np.zeros((97, 720, 1280, 3), np.uint8)

    @ray.remote(num_cpus=0.1)  # type: ignore[untyped-decorator]
    def _take(clip: Any) -> int:
        return int(clip.shape[0])

    naive: Any = Naive
    peak: float = ray.get(naive.remote().drive.remote(CLIPS))
    return peak


def main() -> int:
    """Measure, print JSON lines, and return 1 when a limit is broken."""
    with tempfile.TemporaryDirectory() as directory:
        pipeline = Path(directory) / "hop.yaml"
        pipeline.write_text(PIPELINE)
        with served([pipeline], 2000 * MIB) as (client, _):
            for seed in range(CLIPS):
                run_id = client.submit("hop", {"prompt": "push in", "image": PHOTO, "seed": seed}, {})
                last = list(client.follow(run_id))[-1]
                if last.kind != "succeeded":
                    raise RuntimeError(f"the run ended as {last}")
            peaks = {name: peak_mib(name) for name in ("runner", "ingress")}
            naive = naive_peak_mib()
    for name, mib in peaks.items():
        emit(
            "media_hop",
            case=name,
            clips=CLIPS,
            peak_rss_mib=round(mib, 1),
            limit_mib=LIMIT_MIB,
            of_naive=round(mib / naive, 3),
        )
    emit("media_hop", case="naive driver", clips=CLIPS, peak_rss_mib=round(naive, 1))
    return int(any(mib > LIMIT_MIB for mib in peaks.values()))


if __name__ == "__main__":
    raise SystemExit(main())
