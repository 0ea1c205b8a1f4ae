"""How many copies of an adapter does a replica hold? Loaded by the cache, worn and baked, on one LTX-2 shape in bf16.

    python -m bench.adapter_memory

Memory is what the process has of its own (RssAnon): pages of a file that is mapped to be read belong to the system. An
FP8 file takes twice its size once it is loaded, for nothing computes in FP8. Each case has a process of its own.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.record import emit

CASES = ("unfused 64 bfloat16", "unfused 175 bfloat16", "unfused 175 float8_e4m3fn", "baked 175 float8_e4m3fn")
MOST_COPIES = 1.1


def own_bytes() -> int:
    """Return the memory that this process has of its own, after what is free was handed back to the system."""
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def measure(case: str) -> int:
    """Measure one case in this process; return 1 when there is more than one copy of the adapter."""
    import torch

    from bench.adapter_swap import CPU, STRENGTH, files, model
    from deployments.nets.lora.apply import Baked, Unfused
    from deployments.nets.lora.cache import AdapterCache
    from deployments.nets.lora.loaded import Seat, Source, load
    from deployments.nets.lora.places import Base

    way, rank, dtype = case.split()
    base = model()
    parts = {"transformer": base}
    seat = Seat(CPU, torch.bfloat16 if way == "unfused" else None)
    cache, baked = AdapterCache(2**34, "cpu"), Baked(parts, CPU)
    with tempfile.TemporaryDirectory() as directory:
        file = files(base, int(rank), getattr(torch, dtype), Path(directory)).first
        gc.collect()
        before = own_bytes()
        source = Source(file, "x")
        lent = cache.borrow("x", lambda: 0, lambda: load(source, Base("ltx2", parts), parts, seat))
        with lent as (loaded, _):
            after = own_bytes()
            if way == "unfused":
                with Unfused(parts, [(loaded, STRENGTH)]).applied():
                    worn = own_bytes()
            else:
                baked.hold("x", [(loaded, STRENGTH)])
                worn = own_bytes() - baked.pristine_bytes
        baked.release()
        figures = {
            "adapter_bytes": loaded.size_bytes,
            "file_bytes": file.stat().st_size,
            "loaded_copies": (after - before) / loaded.size_bytes,
            "worn_copies": (worn - before) / loaded.size_bytes,
        }
    emit("adapter_memory", case=case, limit_copies=MOST_COPIES, **figures)
    return int(figures["worn_copies"] > MOST_COPIES or figures["loaded_copies"] > MOST_COPIES)


def main() -> int:
    """Measure every case, each in a process of its own; return 1 when one of them did."""
    if len(sys.argv) > 1:
        return measure(sys.argv[1])
    ends = [subprocess.run([sys.executable, "-m", "bench.adapter_memory", case], check=False) for case in CASES]
    return int(any(end.returncode for end in ends))


if __name__ == "__main__":
    raise SystemExit(main())
