"""Adapter files as trainers write them, and beside each what it must do: a dense difference per layer, in fp64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

from deployments.nets.lora.families import FAMILIES, FamilyName
from deployments.nets.lora.places import original_name
from tests.deployments.lora.bases import linear_layers

LAYOUTS = {
    "peft": ("{part}.{path}", ".lora_A.weight", ".lora_B.weight"),
    "peft, default": ("{part}.{path}", ".lora_A.default.weight", ".lora_B.default.weight"),
    "peft, of itself": ("base_model.model.{path}", ".lora_A.weight", ".lora_B.weight"),
    "diffusers, old": ("{part}.{path}", ".lora.down.weight", ".lora.up.weight"),
    "bare": ("{path}", ".lora_A.weight", ".lora_B.weight"),
    "comfy": ("diffusion_model.{original}", ".lora_A.weight", ".lora_B.weight"),
    "comfy, down and up": ("diffusion_model.{original}", ".lora_down.weight", ".lora_up.weight"),
    "comfy, our names": ("diffusion_model.{path}", ".lora_A.weight", ".lora_B.weight"),
    "original, bare": ("{original}", ".lora_A.weight", ".lora_B.weight"),
    "kohya": ("lora_unet_{flat_original}", ".lora_down.weight", ".lora_up.weight"),
    "kohya, our names": ("lora_transformer_{flat_path}", ".lora_down.weight", ".lora_up.weight"),
}
"""How the layer is named, and what is behind it in its two tensors' names."""


@dataclass(frozen=True)
class Make:
    """What kind of file is made."""

    family: FamilyName
    layout: str = "peft"
    rank: int = 3
    alpha: float | None = None
    dtype: torch.dtype = torch.float32
    is_varied: bool = False
    """Whether every layer has a rank of its own."""
    is_stacked: bool = False
    """Whether fused layers are three adapters beside each other: B is block-diagonal."""
    seed: int = 0
    only: str = ""
    """Layers whose path has this in it."""
    layers: Mapping[str, torch.nn.Linear] | None = field(default=None, compare=False, repr=False)
    """Path -> layer, of another model than the family's tiny one of `bases`."""

    @property
    def places(self) -> Mapping[str, torch.nn.Linear]:
        """The layers that the file may be for."""
        return linear_layers(self.family) if self.layers is None else self.layers


@dataclass
class Made:
    """Tensors of a file, and what they stand for."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    dense: dict[str, torch.Tensor] = field(default_factory=dict)
    """Path of a layer -> scale * B @ A, fp64."""
    metadata: dict[str, str] = field(default_factory=dict)
    pairs: int = 0

    def save(self, path: Path) -> Path:
        """Write the file."""
        save_file(self.tensors, path, metadata=self.metadata or None)
        return path


def make(what: Make) -> Made:
    """Return a file for the linear layers of the family's tiny model."""
    made, generator = Made(), torch.Generator().manual_seed(what.seed)
    naming, down_name, up_name = LAYOUTS[what.layout]
    for index, (original, paths) in enumerate(_groups(what).items()):
        part, _, path = paths[0].partition(".")
        flat = {"flat_path": _flat(path), "flat_original": _flat(original)}
        name = naming.format(part=part, path=path, original=original, **flat)
        layers = [what.places[each] for each in paths]
        rank = what.rank + (index % 4 if what.is_varied else 0)
        down, up = _halves(layers, rank * (len(layers) if what.is_stacked else 1), what, generator)
        made.tensors[name + down_name], made.tensors[name + up_name] = down, up
        scale = 1.0
        if what.alpha is not None:
            made.tensors[f"{name}.alpha"] = torch.tensor(what.alpha)
            scale = what.alpha / down.shape[0]
        _expect(made, what, paths, scale * up.double() @ down.double())
        made.pairs += 1
    return made


def _halves(
    layers: Sequence[torch.nn.Linear], rank: int, what: Make, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    outputs = [layer.out_features for layer in layers]
    down = torch.randn(rank, layers[0].in_features, generator=generator) / math.sqrt(layers[0].in_features)
    up = torch.randn(sum(outputs), rank, generator=generator) / (4 * math.sqrt(rank))
    if what.is_stacked:
        width = rank // len(layers)
        blocks = [rows[:, index * width : (index + 1) * width] for index, rows in enumerate(torch.split(up, outputs))]
        up = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return down.to(what.dtype), up.to(what.dtype)


def _expect(made: Made, what: Make, paths: Sequence[str], dense: torch.Tensor) -> None:
    sizes = [what.places[path].out_features for path in paths]
    for path, rows in zip(paths, torch.split(dense, sizes), strict=True):
        # The last modulation of the authors' Flux gives shift and scale; that of diffusers gives scale and shift.
        is_swapped = what.family == "flux" and path.endswith("norm_out.linear") and _is_original(what)
        made.dense[path] = torch.cat(rows.chunk(2)[::-1]) if is_swapped else rows
        if what.family == "wan" and not _names_parts(what):
            made.dense[path.replace("transformer.", "transformer_2.", 1)] = rows


def _groups(what: Make) -> dict[str, list[str]]:
    """Return the file's layers: a name -> the layers of diffusers behind it, several where the authors fuse them."""
    paths = [path for path in what.places if what.only in path]
    if not _names_parts(what):
        paths = [path for path in paths if not path.startswith("transformer_2.")]
    if not _is_original(what):
        return {path: [path] for path in paths}
    groups: dict[str, list[tuple[int, str]]] = {}
    for path in paths:
        rest = path.partition(".")[2]
        row, name = original_name(FAMILIES[what.family].renamed, rest) or (0, rest)
        groups.setdefault(name, []).append((row, path))
    return {name: [path for _, path in sorted(group)] for name, group in groups.items()}


def _is_original(what: Make) -> bool:
    return "original" in LAYOUTS[what.layout][0]


def _names_parts(what: Make) -> bool:
    return "{part}" in LAYOUTS[what.layout][0]


def _flat(name: str) -> str:
    return name.replace(".", "_")
