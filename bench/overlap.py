"""Does a pipeline whose stages overlap make more clips, and sooner? Chunks and slots against one whole clip at a time.

    python -m bench.overlap [stand-ins | real]

``stand-ins``: generator and upscaler take the time of a 28.5 : 29.2 s pair, a fifth of it, asleep on devices of
their own, over Ray Serve. Sustained: from the end of the first run to the end of the last. ``real``: the animatic, the
bundled EDSR, judge and encoder on the cores of this machine, which they share: all that overlaps is waiting.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.cluster import ray_started, served
from bench.record import emit
from bench.standins import StandIn, deployments
from serve_app.commands.demo import PHOTO
from serve_app.config import AppConfig
from serve_app.graph.flow import Streaming
from serve_app.graph.plan import Plan, compile_plan
from serve_app.graph.spec import parse_pipeline
from serve_app.runs.ledger import Prices
from serve_app.runs.model import RunRequest
from serve_app.runs.queue import Queue, QueueSettings
from serve_app.runs.report import Reporter
from serve_app.runs.sql import SqlRunStore
from serve_app.serving.handles import ServeCaller

LIMIT = 1.9
SHRINK = 5
RUNS = 6
SECOND = 24
"""Frames of the first second."""
STANDINS: dict[str, Any] = {
    "version": 1,
    "name": "standins",
    "inputs": {"seed": "seed"},
    "nodes": {
        "draft": {"use": "draft", "with": {"seconds": 28.5 / SHRINK}, "take": {"seed": "$seed"}},
        "judge": {"use": "judge", "take": {"clip": "draft"}},
        "upscale": {"use": "finish", "with": {"seconds": 29.2 / SHRINK}, "take": {"clip": "draft"}},
        "encode": {"use": "encode", "take": {"clip": "upscale"}},
    },
    "outputs": {"video": "encode", "score": "judge"},
}
REAL = """
version: 1
name: real
inputs: {prompt: text, image: image, seed: seed}
nodes:
  draft:
    use: generate.animatic
    with: {width: 480, height: 270, frames: 97, fps: 24}
    take: {prompt: $prompt, seed: $seed, image: $image}
  judge: {use: judge.fidelity, take: {clip: draft, image: $image}}
  gate: {use: gate.verdict, with: {on_fail: warn}, take: {clip: draft, score: judge}}
  upscale: {use: upscale.edsr, with: {width: 960, height: 540}, take: {clip: gate}}
  encode: {use: encode.video, take: {clip: upscale}}
outputs: {video: encode, score: judge}
"""


def standin_times(handles: dict[str, Any], root: Path, slots: int, streaming: Streaming) -> tuple[float, float]:
    """Return (seconds per run, sustained; seconds from the beginning of a run to its first encoded second)."""
    plan: Plan = compile_plan(parse_pipeline(STANDINS, "bench"), deployments())
    store = SqlRunStore(f"sqlite:///{root / f'{slots}.db'}")
    for seed in range(RUNS):
        store.add(RunRequest(f"run-{seed}", plan.name, {"seed": seed}, plan.policy.model_dump()), RUNS)

    async def work() -> None:
        settings = QueueSettings(slots=slots, poll_s=0.02, streaming=streaming)
        queue = Queue(store, {plan.name: plan}, ServeCaller(handles), Reporter({plan.name: plan}, Prices()), settings)
        queue.start()
        while not all(store.get(f"run-{seed}").state.is_final for seed in range(RUNS)):
            queue.check()
            await asyncio.sleep(0.02)
        await queue.stop()

    asyncio.run(work())
    ends = sorted(store.get(f"run-{seed}").finished_s or 0.0 for seed in range(RUNS))
    logs = [[(event.kind, event.data, event.at_s) for event in store.events(f"run-{seed}")] for seed in range(RUNS)]
    # Of the run that got the generator first: the others wait for it with their slot in hand.
    return (ends[-1] - ends[0]) / (RUNS - 1), min(first_second(events) for events in logs)


def first_second(events: list[tuple[str, dict[str, Any], float]]) -> float:
    """Return how long after the run's first event the encoder had done its first second."""
    began = events[0][2]
    done = (at for kind, data, at in events if kind == "step.progress" and _is_second(data))
    return next(done) - began


def _is_second(data: dict[str, Any]) -> bool:
    return bool(data["node"] == "encode" and data["done"] >= SECOND)


def measure_standins() -> bool:
    """Emit both orders with stand-ins, and return whether the limit is kept."""
    from ray import serve

    with tempfile.TemporaryDirectory() as directory, ray_started(400 << 20) as _:
        root = Path(directory)
        config = AppConfig(pipelines=("none",), directory=root)
        handles = {}
        for name in deployments():
            deployment = serve.deployment(StandIn).options(name=name, max_ongoing_requests=2)
            handles[name] = serve.run(deployment.bind(name, config), name=name, route_prefix=None)
        one_by_one, late = standin_times(handles, root, 1, Streaming(None))
        pipelined, soon = standin_times(handles, root, 3, Streaming(16, 3))
    facts = {"draft_s": 28.5 / SHRINK, "finish_s": 29.2 / SHRINK, "runs": RUNS}
    emit("overlap", case="stand-ins, one by one, whole clips", **facts, run_s=one_by_one, first_second_s=late)
    emit("overlap", case="stand-ins, 3 slots, chunks of 16", **facts, run_s=pipelined, first_second_s=soon)
    gain, bare = one_by_one / pipelined, 57.7 / SHRINK / pipelined
    emit("overlap", case="stand-ins, gain", sustained=gain, over_the_bare_sum=bare, limit=LIMIT, ideal=57.7 / 29.2)
    return gain >= LIMIT


def real_times(settings: dict[str, Any], rounds: int) -> tuple[float, float]:
    """Return (seconds per run with all of them submitted at once, median seconds to the first encoded second)."""
    with tempfile.TemporaryDirectory() as directory:
        pipeline = Path(directory) / "real.yaml"
        pipeline.write_text(REAL)
        with served([pipeline], 2000 << 20, settings) as (client, _):
            inputs = {"prompt": "push in", "image": PHOTO}
            warm = client.submit("real", {**inputs, "seed": 0}, {})
            list(client.follow(warm))
            began = time.perf_counter()
            ids = [client.submit("real", {**inputs, "seed": seed + 1}, {}) for seed in range(rounds)]
            firsts = []
            for run_id in ids:
                started = None
                for happening in client.follow(run_id):
                    now = time.perf_counter()
                    started = now if happening.kind == "run.started" else started
                    if happening.kind == "step.progress" and _is_second(happening.data) and started is not None:
                        firsts.append(now - started)
                        started = None
                    if happening.kind == "failed":
                        raise RuntimeError(f"a run ended as {happening}")
            seconds = (time.perf_counter() - began) / rounds
    return seconds, statistics.median(firsts[:1])


def measure_real(rounds: int = 3) -> bool:
    """Emit both orders with real stages on shared cores, and return whether chunks are not slower."""
    off = {"streaming": {"chunk_frames": None}, "queue": {"slots": 1}}
    one_by_one, late = real_times(off, rounds)
    pipelined, soon = real_times({"queue": {"slots": 2}}, rounds)
    emit("overlap", case="real, one by one, whole clips", runs=rounds, run_s=one_by_one, first_second_s=late)
    emit("overlap", case="real, 2 slots, chunks of 16", runs=rounds, run_s=pipelined, first_second_s=soon)
    emit("overlap", case="real, gain", sustained=one_by_one / pipelined, limit=1.0)
    return one_by_one / pipelined >= 1.0


def main() -> int:
    """Measure, print JSON lines, and return 1 when a limit is broken."""
    what = sys.argv[1] if len(sys.argv) > 1 else "both"
    measures = {"stand-ins": measure_standins, "real": measure_real}
    kept = [measure() for name, measure in measures.items() if what in (name, "both")]
    return int(not all(kept))


if __name__ == "__main__":
    raise SystemExit(main())
