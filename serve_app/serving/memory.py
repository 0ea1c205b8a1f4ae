"""What a replica holds in memory, told by itself: nobody else can see it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")
_RESIDENT = 1
"""The field of /proc/self/statm that counts resident pages (proc(5))."""


def memory_of(stage: object, device: str, share: float) -> dict[str, Any]:
    """Return the memory of this process and of ``stage``'s weights; ``share``, 0..1, is the GPU's that it may use."""
    by_dtype: dict[str, int] = {}
    if "torch" in sys.modules:  # a stage without it has no weights, and must not pay for it here
        from deployments.nets.memory import weights_bytes

        by_dtype = weights_bytes(stage)
    facts = {
        "weights_bytes": sum(by_dtype.values()),
        "dtypes": by_dtype,
        "device": device,
        "process_bytes": resident_bytes(),
    }
    return {**facts, **(_gpu(share) if device == "cuda" else {})}


def resident_bytes() -> int | None:
    """Return how much of the machine's memory this process has; None where the system does not say."""
    if not _STATM.exists():
        return None
    return int(_STATM.read_text(encoding="ascii").split()[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE")


def _gpu(share: float) -> dict[str, int]:
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    return {
        "gpu_allocated_bytes": torch.cuda.memory_allocated(),
        "gpu_peak_bytes": torch.cuda.max_memory_allocated(),
        "gpu_limit_bytes": int(min(1.0, share) * total),
    }
