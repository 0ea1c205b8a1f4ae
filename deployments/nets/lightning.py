"""Qwen-Image-Lightning: an adapter and a schedule for 4 or 8 steps without guidance, taken whole or not at all.

Source: github.com/ModelTC/Qwen-Image-Lightning. An adapter of which a part matches nothing gives a picture all the
same, only a bad one; libraries leave such parts out with a line in a log.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file

from serve_app.core.errors import Misconfigured

_WHERE = "weights.lightning"
_PREFIXES = ("transformer.", "diffusion_model.")
_PART = re.compile(
    r"(?P<module>.+?)\.(?:(?:lora_A|lora_down)(?:\.default)?\.weight(?P<down>)|"
    r"(?:lora_B|lora_up)(?:\.default)?\.weight(?P<up>)|alpha(?P<alpha>))"
)
_HUB_FILE = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)/(?P<file>[\w./-]+\.safetensors)")

SCHEDULE: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "base_image_seq_len": 256,
    "max_image_seq_len": 8192,
    "base_shift": math.log(3),
    "max_shift": math.log(3),
    "shift": 1.0,
    "shift_terminal": None,
    "use_dynamic_shifting": True,
    "time_shift_type": "exponential",
}
"""A shift of 3 whatever the picture's size, and no stretching to a last level: what the adapter was distilled with."""


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Return the scheduler of SCHEDULE; the one that is published with Qwen-Image shifts and stretches otherwise."""
    return FlowMatchEulerDiscreteScheduler(**SCHEDULE)


@dataclass(frozen=True)
class Delta:
    """What is added to a weight: `up @ down` times `scale`."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float


def merge(transformer: torch.nn.Module, source: str) -> int:
    """Add the adapter in `source`, a file or `owner/name/file.safetensors` on the hub, to the weights, once.

    Returns how many modules were changed: all that are in the file, or none. Raises Misconfigured naming
    `weights.lightning` for what is missing, unpaired, of another shape, not finite, or not the same in every block.
    """
    deltas = _deltas(_tensors(source))
    weights = {name: _weight(name, delta, transformer) for name, delta in deltas.items()}
    _check_blocks(deltas, transformer)
    with torch.no_grad():
        for name, delta in deltas.items():
            weight = weights[name]
            # In fp32: two roundings to bf16 would lose what a small update adds.
            change = delta.scale * (delta.up.float() @ delta.down.float())
            weight.copy_(weight.float() + change.to(weight.device))
    return len(deltas)


def _tensors(source: str) -> dict[str, torch.Tensor]:
    path, hub = Path(source), _HUB_FILE.fullmatch(source)
    try:
        if not path.is_file():
            if hub is None:
                raise Misconfigured(_WHERE, f"there is no file {source}, nor is it owner/name/file.safetensors")
            path = Path(hf_hub_download(hub["repo"], hub["file"]))
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise Misconfigured(_WHERE, f"{source} cannot be read: {error}") from error
    return tensors


def _deltas(tensors: Mapping[str, torch.Tensor]) -> dict[str, Delta]:
    """Return module -> delta; every tensor belongs to one."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        bare = next((key.removeprefix(prefix) for prefix in _PREFIXES if key.startswith(prefix)), key)
        match = _PART.fullmatch(bare)
        if match is None:
            raise Misconfigured(_WHERE, f"{key} is no part of an adapter for the transformer")
        kind = next(kind for kind in ("down", "up", "alpha") if match[kind] is not None)
        parts.setdefault(match["module"], {})[kind] = tensor
    if not parts:
        raise Misconfigured(_WHERE, "the file is empty")
    return {name: _delta(name, part) for name, part in parts.items()}


def _delta(name: str, part: Mapping[str, torch.Tensor]) -> Delta:
    if lacking := sorted({"down", "up"} - set(part)):
        raise Misconfigured(_WHERE, f"{name} has no {' and no '.join(lacking)} matrix")
    down, up = part["down"], part["up"]
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise Misconfigured(_WHERE, f"the matrices of {name} do not fit each other")
    if not all(torch.isfinite(tensor.float()).all() for tensor in part.values()):
        raise Misconfigured(_WHERE, f"{name} holds a value that is not a finite number")
    alpha = part.get("alpha")
    return Delta(down, up, 1.0 if alpha is None else float(alpha) / down.shape[0])


def _weight(name: str, delta: Delta, transformer: torch.nn.Module) -> torch.Tensor:
    """Return the weight that `delta` changes."""
    module = dict(transformer.named_modules()).get(name)
    if not isinstance(module, torch.nn.Linear):
        raise Misconfigured(_WHERE, f"the transformer has no {name} to adapt")
    shape = (delta.up.shape[0], delta.down.shape[1])
    if shape != tuple(module.weight.shape):
        raise Misconfigured(_WHERE, f"{name} is {tuple(module.weight.shape)}, and the adapter's is {shape}")
    return module.weight


def _check_blocks(deltas: Mapping[str, Delta], transformer: torch.nn.Module) -> None:
    """Raise Misconfigured unless every block is adapted in the same places: distillation leaves no block out."""
    blocks = len(transformer.get_submodule("transformer_blocks"))  # type: ignore[arg-type]
    inside = [name.split(".", 2) for name in deltas if name.startswith("transformer_blocks.")]
    counts = Counter(place for _, _, place in inside)
    if holes := sorted(place for place, count in counts.items() if count != blocks):
        found = f"{len(deltas)} modules of at least {blocks * len(counts)}"
        raise Misconfigured(_WHERE, f"{found}: {holes[0]} is adapted in {counts[holes[0]]} of {blocks} blocks")
    if not counts:
        raise Misconfigured(_WHERE, "no block is adapted")
