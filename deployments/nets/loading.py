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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError

from deployments.nets import holding
from deployments.nets.held import Held, Options
from serve_app.core.errors import Misconfigured, OutOfMemory

_MODEL = "weights.model"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_BROKEN = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Which weights, and how they are held."""

    model: str
    """A directory in diffusers' layout, or a hub id (`owner/name`)."""
    revision: str | None
    """Of the hub id; a directory has none."""
    dtype: torch.dtype
    device: str
    options: Options = field(default_factory=Options)

    @classmethod
    def of(cls, weights: Held, device: str) -> Checkpoint:
        """Return the checkpoint that a stage's ``weights`` describe, held on ``device``."""
        return cls(
            model=weights.model,
            revision=weights.revision,
            dtype=resolve_dtype(weights.dtype, device),
            device=device,
            options=weights,
        )

    @property
    def is_offloaded(self) -> bool:
        """Whether each part is on the device only while it works."""
        return self.options.offload == "model"

    @property
    def facts(self) -> dict[str, Any]:
        """Which weights these are and how they are held, as JSON values."""
        dtype = str(self.dtype).removeprefix("torch.")
        which = {"model": self.name, "revision": self.revision, "dtype": dtype, "device": self.device}
        return which | self.options.facts

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


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network of diffusers beside a pipeline's own: where it is, and the field of `Weights` that says so."""

    field: str
    """Of `Weights`; `{field}_revision` names the revision."""
    source: str
    """A directory, its own or one that has it as `folder`; or a hub id, whose `folder` it is."""
    folder: str
    revision: str | None
    dtype: torch.dtype


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


def read_part(kind: Any, part: Part) -> Any:
    """Return `part`, a model of class `kind`, whole and on the CPU. A directory is read without any network.

    Raises Misconfigured naming its field: there is none, it is pickled, or it is not just the tensors of `kind`.
    """
    where, is_local = f"weights.{part.field}", Path(part.source).is_dir()
    if not is_local and not _HUB_ID.fullmatch(part.source):
        raise Misconfigured(where, f"there is no directory {part.source}, nor is it a hub id")
    if is_local and part.revision is not None:
        raise Misconfigured(f"{where}_revision", "a directory has no revisions")
    is_itself = is_local and (Path(part.source) / "config.json").is_file()
    try:
        model, report = kind.from_pretrained(
            part.source,
            subfolder=None if is_itself else part.folder,
            revision=part.revision,
            local_files_only=is_local,
            dtype=part.dtype,
            use_safetensors=True,
            output_loading_info=True,
        )
    except _BROKEN as error:
        raise Misconfigured(where, f"{part.source} is not a whole {kind.__name__}: {error}") from error
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, report[fault])):
            raise Misconfigured(where, f"{part.source} has {len(keys)} {fault.replace('_', ' ')}, {keys[0]} among them")
    return model.eval()


def place(pipeline: Any, checkpoint: Checkpoint) -> None:
    """Move `pipeline` to where it works, and hold it as `checkpoint` says.

    Raises OutOfMemory, and Misconfigured naming the option that is not to be had here.
    """
    options = checkpoint.options
    if options.vae_tiling:
        pipeline.vae.enable_tiling()
    for net in holding.transformers_of(pipeline):
        if options.attention != "auto":
            holding.attend(net, options.attention)
        if options.storage == "fp8":
            holding.narrow(net, checkpoint.dtype)
        if options.compile == "blocks":
            holding.compile_blocks(net)
    with memory_of(f"{type(pipeline).__name__} from {checkpoint.name}", checkpoint.device):
        _move(pipeline, checkpoint)


def _move(pipeline: Any, checkpoint: Checkpoint) -> None:
    match checkpoint.options.offload:
        case "model":
            pipeline.enable_model_cpu_offload(device=checkpoint.device)
        case "group":
            settle(pipeline)
            holding.offload_groups(pipeline, checkpoint.options, torch.device(checkpoint.device))
        case "none":
            pipeline.to(checkpoint.device)
            settle(pipeline)


def facts_of(pipeline: Any, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what `checkpoint` says of itself, and the bytes that each part's weights take."""
    return {**checkpoint.facts, "weights_bytes": holding.bytes_of(pipeline)}


def settle(pipeline: Any) -> None:
    """Give every weight that is on the CPU memory of torch's own.

    A weights file is mapped into memory, so a tensor begins wherever its bytes lie in the file; the CPU's kernels take
    other paths for other alignments, and two loads of one file could differ in the last bit of a product.
    """
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            settle_part(part)


def settle_part(part: torch.nn.Module) -> None:
    """Do what `settle` does, of one module."""
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
    if checkpoint.options.offload != "none" and checkpoint.device != "cuda":
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
