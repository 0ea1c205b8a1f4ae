"""What this replica was given, and keeping it to that. A fraction of a GPU is a book entry until it is enforced."""

from __future__ import annotations

import math

import ray

from serve_app.core.errors import Misconfigured
from serve_app.graph.record import Resources

_LABEL = "accelerator_type:"


def assigned() -> Resources:
    """Return the CPUs and the share of an accelerator that Ray set aside for this replica."""
    held = ray.get_runtime_context().get_assigned_resources()
    return Resources(cpus=float(held.get("CPU", 0.0)), gpus=float(held.get("GPU", 0.0)), accelerator=_accelerator(held))


def _accelerator(held: dict[str, float]) -> str | None:
    """Name the accelerator as CUDA does; where there is only a Ray that counts GPUs, by its node's label."""
    if not held.get("GPU"):
        return None
    import torch

    if torch.cuda.is_available():  # Ray's label of an A100 does not tell the one of 40 GB from the one of 80
        return str(torch.cuda.get_device_name(0))
    node = next(n for n in ray.nodes() if n["NodeID"] == ray.get_runtime_context().get_node_id())
    labels = [name for name in node["Resources"] if name.startswith(_LABEL)]
    return labels[0].removeprefix(_LABEL) if labels else "unknown"


def gpu_ids() -> list[str]:
    """Return the ids of the GPUs of which this replica holds a share."""
    return [str(each) for each in ray.get_runtime_context().get_accelerator_ids().get("GPU", [])]


def threads(resources: Resources) -> int:
    """Return how many CPU threads the replica may use: its whole CPUs, at least one."""
    return max(1, math.floor(resources.cpus))


def device(resources: Resources) -> str:
    """Return ``cuda`` for a replica that holds a share of a GPU and can use it, else ``cpu``; cap CUDA to that share.

    Raises Misconfigured when a GPU was promised and CUDA does not see one, unless the cluster's GPUs are only counted
    (a test's `--num-gpus` on a machine without any): then the stage runs on the CPU.
    """
    if resources.gpus <= 0:
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        if torch.version.cuda is None:  # a CPU build of torch never could: the GPUs are make-believe
            return "cpu"
        raise Misconfigured("ray_actor_options.num_gpus", "Ray gave this replica a GPU that CUDA cannot use")
    torch.cuda.set_per_process_memory_fraction(min(1.0, resources.gpus))
    return "cuda"
