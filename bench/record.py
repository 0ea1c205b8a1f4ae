"""JSON lines for benchmarks, each stamped with the machine and the commit that it was measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

Figure = str | int | float | bool | None


def emit(bench: str, *, case: str, **figures: Figure) -> None:
    """Write one line to standard output: ``bench``, ``machine``, ``commit``, ``case``, then ``figures`` by name.

    A figure's name ends in its unit (``_s``, ``_bytes``, ``_db``); floats keep four significant digits.
    """
    rounded = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}
    line = {"bench": bench, "machine": machine(), "commit": commit(), "case": case, **rounded}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@cache
def machine() -> str:
    """Return the processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    table = Path("/proc/cpuinfo")
    if table.exists():
        models = [line.partition(":")[2].strip() for line in table.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


@cache
def commit() -> str:
    """Return the short hash of the checkout, with ``+`` if files differ from it; ``unknown`` outside of one."""
    root = Path(__file__).parents[1]
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"
