"""What does Serve cost? Wall time of the demo pipeline over Serve, HTTP and all, and of the same plan in one process.

    python -m bench.graph_overhead [ROUNDS]

Runs alternate, so that a busy neighbour disturbs both; the figure is the ratio of the medians.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.cluster import served
from bench.record import emit
from serve_app.commands.demo import INPUTS, PIPELINE
from serve_app.commands.followed import Followed
from serve_app.commands.local import Local

LIMIT = 1.10


def seconds_of(followed: Followed, seed: int) -> float:
    """Return the wall time of one run, from its submission to its last event."""
    began = time.perf_counter()
    run_id = followed.submit(PIPELINE, {**INPUTS, "seed": seed}, {"attempts": 1})
    last = list(followed.follow(run_id))[-1]
    if last.kind != "succeeded":
        raise RuntimeError(f"the run ended as {last}")
    return time.perf_counter() - began


def main() -> int:
    """Measure, print JSON lines, and return 1 when the limit is broken."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with served([PIPELINE], 800 << 20) as (client, config), tempfile.TemporaryDirectory() as directory:
        here = config.model_copy(update={"directory": Path(directory)})
        with contextlib.closing(Local(here, {})) as local:
            seconds_of(client, 0), seconds_of(local, 0)  # the first run in a process loads its stages
            pairs = [(seconds_of(client, seed), seconds_of(local, seed)) for seed in range(1, rounds + 1)]
    over_serve, in_process = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = over_serve / in_process
    facts = {"serve_s": round(over_serve, 3), "in_process_s": round(in_process, 3), "ratio": round(ratio, 3)}
    emit("graph_overhead", case=PIPELINE, rounds=rounds, **facts, limit=LIMIT)
    return int(ratio > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
