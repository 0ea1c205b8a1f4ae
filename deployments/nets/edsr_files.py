"""EDSR weights from any file they are published in: safetensors of ours, other people's checkpoints, frozen graphs.

A pickle is read by torch's restricted unpickler, which builds tensors and runs nothing.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from deployments.nets import edsr_probe
from deployments.nets.edsr import METADATA_KEY, Edsr, EdsrConfig, load
from deployments.nets.edsr_convention import CONVENTIONS, Convention, ConventionName, alternatives, dressed
from deployments.nets.edsr_graph import from_graph
from deployments.nets.edsr_layouts import renamed
from deployments.nets.graphdef import read_graph

_PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_INNER = ("params_ema", "params", "state_dict", "model_state_dict", "model")
"""Where checkpoints keep their tensors, in the order in which they are looked for: averaged ones first."""


@dataclass(frozen=True)
class Wish:
    """What a file's owner says of it; None leaves it to the file, its neighbour config.json, or the published usage."""

    convention: ConventionName | None = None
    residual_scale: float | None = None


@dataclass(frozen=True)
class Found:
    """A network that gives RGB in 0..1, and what is known of its origin.

    ``doubt`` says why its units are a guess, None where they are not.
    """

    network: Edsr
    facts: Mapping[str, str]
    doubt: str | None = None


@dataclass(frozen=True)
class _Foreign:
    """A network in its own units, the conventions that it may have been trained in, and what is known of it."""

    bare: Edsr
    candidates: Mapping[ConventionName, Convention]
    layout: str


def read(path: Path, wish: Wish | None = None) -> Found:
    """Return the network in a file of any known kind, on the CPU, float32, held against the probe.

    Raise FileNotFoundError, and ValueError that says what is wrong: no EDSR, tensors that do not fit, more in a pickle
    than tensors, or units in which the network is worse than bicubic, with those in which it is not.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no EDSR weights at {path}")
    wish = wish or Wish()
    if path.suffix == ".safetensors" and METADATA_KEY in _metadata(path):
        if wish != Wish():
            raise ValueError(f"{path} says itself what its units are: leave the convention and the residual scale out")
        network = load(path)
        gain = edsr_probe.gain_db(network)
        _refuse_mush(path, "its metadata", gain, network)
        return Found(network, {"layout": "greenlight", "probe_gain_db": f"{gain:.2f}"})
    try:
        foreign = _foreign(path, wish)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return _chosen(path, foreign)


def _chosen(path: Path, foreign: _Foreign) -> Found:
    """Return the network in the convention that does best on the probe; raise ValueError if that is mush."""
    networks = {name: dressed(foreign.bare, convention) for name, convention in foreign.candidates.items()}
    gains = {name: edsr_probe.gain_db(network) for name, network in networks.items()}
    name, *others = sorted(gains, key=gains.__getitem__, reverse=True)
    _refuse_mush(path, name, gains[name], foreign.bare)
    facts = {
        "layout": foreign.layout,
        "convention": name,
        "units": str(foreign.candidates[name]),
        "residual_scale": f"{foreign.bare.config.residual_scale:g}",
        "probe_gain_db": f"{gains[name]:.2f}",
    }
    doubt = None
    if others:
        ahead = gains[name] - gains[others[0]]
        doubt = f"the file does not say its units; {name} fits a photograph best, by {ahead:.2f} dB before {others[0]}"
    return Found(networks[name], facts, doubt)


def _refuse_mush(path: Path, said: str, gain_db: float, bare: Edsr) -> None:
    """Raise ValueError if a network is worse than bicubic, naming what fits its ``bare`` weights better."""
    if gain_db >= -edsr_probe.ALLOWED_LOSS_DB:
        return
    reason = f"in the units of {said}, the network is {-gain_db:.1f} dB below bicubic on a photograph"
    if names := edsr_probe.fitting(alternatives(bare)):
        raise ValueError(f"{path}: {reason}; it fits {' or '.join(names)}")
    raise ValueError(f"{path}: {reason}, and so it is in any that is known: it is not trained, or no EDSR")


def _foreign(path: Path, wish: Wish) -> _Foreign:
    if path.suffix == ".pb":
        if wish.residual_scale is not None:
            raise ValueError("a graph says itself what its residuals are multiplied by: leave the residual scale out")
        name = wish.convention or "opencv"
        return _Foreign(_bare(*from_graph(read_graph(path))), {name: CONVENTIONS[name]}, "tensorflow graph")
    found, beside = renamed(_state(path)), _neighbour(path)
    names: tuple[ConventionName, ...] = (found.layout,)
    if wish.convention is not None:
        names = (wish.convention,)
    elif beside is not None:
        names = ("super-image",)
    elif found.layout == "edsr-pytorch":
        names = ("edsr-pytorch", "super-image")  # the same tensors, by the same names
    conventions = {name: CONVENTIONS[name] for name in names}
    if "edsr-pytorch" in conventions and found.value_range is not None:
        stated = dataclasses.replace(CONVENTIONS["edsr-pytorch"], value_range=found.value_range)
        conventions["edsr-pytorch"] = stated
    scale = beside if wish.residual_scale is None else wish.residual_scale
    return _Foreign(_bare(found.config(scale), found.tensors), conventions, found.layout)


def _bare(config: EdsrConfig, tensors: Mapping[str, Tensor]) -> Edsr:
    network = Edsr(dataclasses.replace(config, value_range=1.0, mean=(0.0, 0.0, 0.0))).eval().requires_grad_(False)
    network.load_state_dict(dict(tensors), strict=True)
    return network


def _state(path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if path.suffix not in _PICKLES:
        kinds = ", ".join((".safetensors", ".pb", *_PICKLES))
        raise ValueError(f"its name ends in none of {kinds}")
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError("its pickle holds more than tensors, or is broken; nothing of it was run") from error
    except (EOFError, OSError) as error:
        raise ValueError(f"it is cut off: {error}") from error
    inner = next((loaded[name] for name in _INNER if isinstance(loaded, dict) and name in loaded), loaded)
    if not isinstance(inner, dict) or not all(isinstance(each, Tensor) for each in inner.values()):
        raise ValueError("it holds no dictionary of tensors")
    return dict(inner)


def _metadata(path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error


def _neighbour(path: Path) -> float | None:
    """Return the residual scale in super-image's config.json beside its weights, or None without such a file."""
    file = path.with_name("config.json")
    if not file.is_file():
        return None
    fields = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(fields, dict) or fields.get("model_type") != "EDSR":
        return None
    scale = fields.get("res_scale")
    if not isinstance(scale, int | float) or isinstance(scale, bool):
        raise ValueError(f"config.json beside it has a res_scale of {scale!r}, which is no number")
    return float(scale)
