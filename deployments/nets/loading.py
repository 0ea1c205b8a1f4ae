"""Pipelines of diffusers from a directory or the hub: whole weights in safetensors, or an error that names the field.

Left to themselves the libraries fill gaps: diffusers leaves a missing tensor without storage, transformers draws it at
random, both read pickles, and a path that does not exist is looked up on the hub.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError

from serve_app.core.errors import Misconfigured, OutOfMemory

_MODEL = "weights.model"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_BROKEN = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


class Located(Protocol):
    """What the `Weights` of most families say alike."""

    @property
    def model(self) -> str:
        """A directory, or a hub id."""

    @property
    def revision(self) -> str | None:
        """Of the hub id."""

    @property
    def dtype(self) -> Literal["auto", "bf16", "fp32"]:
        """What the weights are computed in."""

    @property
    def offload(self) -> Literal["none", "model"]:
        """What leaves the device while it does not work."""

    @property
    def vae_tiling(self) -> bool:
        """Whether pictures and frames are decoded in spatial tiles."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Which weights, and how they are held."""

    model: str
    """A directory in diffusers' layout, or a hub id (`owner/name`)."""
    revision: str | None
    """Of the hub id; a directory has none."""
    dtype: torch.dtype
    device: str
    is_offloaded: bool
    """Whether each part is on the device only while it works."""
    is_tiled: bool
    """Whether pictures and frames are decoded in spatial tiles."""

    @classmethod
    def of(cls, weights: Located, device: str) -> Checkpoint:
        """Return the checkpoint that a stage's ``weights`` describe, held on ``device``."""
        return cls(
            model=weights.model,
            revision=weights.revision,
            dtype=resolve_dtype(weights.dtype, device),
            device=device,
            is_offloaded=weights.offload == "model",
            is_tiled=weights.vae_tiling,
        )

    @property
    def is_local(self) -> bool:
        """Whether `model` is a directory on this machine."""
        return Path(self.model).is_dir()

    @property
    def name(self) -> str:
        """What a clip says it was made by: the hub id, or the directory's own name."""
        return Path(self.model).resolve().name if self.is_local else self.model

    @property
    def where(self) -> dict[str, Any]:
        """How diffusers and transformers are told to find it: a directory is read without any network."""
        return {"revision": self.revision, "local_files_only": self.is_local}


@dataclass(frozen=True, kw_only=True)
class Family:
    """What loading has to know about a model family."""

    name: str
    """For people: `LTX-2`."""
    pipeline: Any
    """The class of diffusers that the weights are read into."""
    text_encoders: tuple[str, ...] = ("text_encoder",)
    """The parts that transformers reads."""
    text_tensors: str = ""
    """Only tensors with this in their name must be there: of a vision model that encodes text, `language_model`."""
    unused: tuple[str, ...] = ()
    """Parts that are left on the disk."""
    fp32: tuple[str, ...] = ()
    """Parts that are held in fp32 whatever the dtype of the others."""
    transformer: str | None = None
    """The class of the transformer, held against the weights; None takes any that fits."""


def resolve_dtype(name: Literal["auto", "bf16", "fp32"], device: str) -> torch.dtype:
    """Return the dtype of `name`; `auto` is bf16 on a GPU, which the weights were published in, and fp32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32


def read(family: Family, checkpoint: Checkpoint) -> Any:
    """Return the pipeline of `checkpoint`, whole and on the CPU. A directory is read without any network.

    Raises Misconfigured naming `weights.model`, `weights.revision` or `weights.offload`.
    """
    _check(checkpoint)
    diffusers_logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        pipeline = _read(family, checkpoint)
    except _BROKEN as error:
        raise Misconfigured(_MODEL, f"{checkpoint.model} is not a whole {family.name}: {error}") from error
    _check_whole(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def place(pipeline: Any, checkpoint: Checkpoint) -> None:
    """Move `pipeline` to where it works. Raises OutOfMemory."""
    if checkpoint.is_tiled:
        pipeline.vae.enable_tiling()
    with memory_of(f"{type(pipeline).__name__} from {checkpoint.name}", checkpoint.device):
        if checkpoint.is_offloaded:
            pipeline.enable_model_cpu_offload(device=checkpoint.device)
        else:
            pipeline.to(checkpoint.device)
            settle(pipeline)


def settle(pipeline: Any) -> None:
    """Give every weight that is on the CPU memory of torch's own.

    A weights file is mapped into memory, so a tensor begins wherever its bytes lie in the file; the CPU's kernels take
    other paths for other alignments, and two loads of one file could differ in the last bit of a product.
    """
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for tensor in (*part.parameters(), *part.buffers()):
                if tensor.device.type == "cpu":
                    tensor.data = tensor.data.clone()


def sibling(kind: Any, pipeline: Any) -> Any:
    """Return a pipeline of class `kind` around the same modules, with a scheduler of its own. Do it before `place`.

    diffusers' `from_pipe` would share the scheduler, which counts the steps of the run that it is in, and turn every
    shared module into fp32 unless it is told one dtype for all.
    """
    names = inspect.signature(kind.__init__).parameters
    parts = {name: part for name, part in pipeline.components.items() if name in names}
    settings = {name: value for name, value in pipeline.config.items() if name in names}
    other = kind(**{**settings, **parts, "scheduler": copy.deepcopy(pipeline.scheduler)})
    other.set_progress_bar_config(disable=True)
    return other


@contextmanager
def memory_of(what: str, device: str) -> Iterator[None]:
    """Turn torch's error for a full device into OutOfMemory, which says that `what` did not fit."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(what, device) from error


def _check(checkpoint: Checkpoint) -> None:
    if checkpoint.is_offloaded and checkpoint.device != "cuda":
        raise Misconfigured("weights.offload", f"there is nothing to move weights off on {checkpoint.device}")
    if not checkpoint.is_local:
        if not _HUB_ID.fullmatch(checkpoint.model):
            raise Misconfigured(_MODEL, f"there is no directory {checkpoint.model}, nor is it a hub id")
        return
    if checkpoint.revision is not None:
        raise Misconfigured("weights.revision", "a directory has no revisions")
    root = Path(checkpoint.model)
    if not (root / "model_index.json").is_file():
        raise Misconfigured(_MODEL, f"{root} has no model_index.json, so it is not in diffusers' layout")
    for part in sorted(entry for entry in root.iterdir() if entry.is_dir()):
        pickles = [file.name for file in part.iterdir() if file.suffix in _PICKLES]
        if pickles and not list(part.glob("*.safetensors")):
            raise Misconfigured(_MODEL, f"{part.name} is pickled ({pickles[0]}); only safetensors are read")


def _read(family: Family, checkpoint: Checkpoint) -> Any:
    index = family.pipeline.load_config(checkpoint.model, **checkpoint.where)
    found = index.get("transformer", [None, None])[1]
    if family.transformer is not None and found != family.transformer:
        raise Misconfigured(_MODEL, f"the transformer is a {found}, and {family.name}'s is a {family.transformer}")
    texts = {part: _read_text_encoder(family, checkpoint, part, index) for part in family.text_encoders}
    dtype = {"default": checkpoint.dtype, **dict.fromkeys(family.fp32, torch.float32)}
    return family.pipeline.from_pretrained(
        checkpoint.model,
        dtype=dtype if family.fp32 else checkpoint.dtype,
        use_safetensors=True,
        **checkpoint.where,
        **dict.fromkeys(family.unused),
        **texts,
    )


def _read_text_encoder(family: Family, checkpoint: Checkpoint, part: str, index: dict[str, Any]) -> Any:
    """Return a text encoder, which transformers would fill with random numbers where the file lacks a tensor."""
    name = index.get(part, [None, ""])[1]
    kind = getattr(transformers, name or "", None)
    if kind is None:
        raise Misconfigured(_MODEL, f"{checkpoint.model} names no {part} that transformers has")
    model, report = kind.from_pretrained(
        checkpoint.model,
        subfolder=part,
        dtype=torch.float32 if part in family.fp32 else checkpoint.dtype,
        use_safetensors=True,
        output_loading_info=True,
        **checkpoint.where,
    )
    if missing := sorted(key for key in report["missing_keys"] if family.text_tensors in key):
        raise Misconfigured(_MODEL, f"{part} lacks {len(missing)} tensors, {missing[0]} among them")
    return model.eval()


def _check_whole(pipeline: Any) -> None:
    """Raise Misconfigured where diffusers left a tensor out that the file lacked."""
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        missing = [key for key, tensor in part.named_parameters() if tensor.is_meta]
        if missing:
            raise Misconfigured(_MODEL, f"{name} lacks {len(missing)} tensors, {missing[0]} among them")
