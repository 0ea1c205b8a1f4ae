"""LTX-2 through diffusers: from a directory or the hub to two pipelines that share one set of weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ImageToVideoPipeline, LTX2Pipeline
from diffusers.utils import logging as diffusers_logging

from deployments.nets.ltx2_output import Quantiser
from deployments.nets.ltx2_prompts import HeldPrompt
from deployments.nets.ltx2_sampling import Version, check_version
from serve_app.core.errors import Misconfigured, OutOfMemory

_MODEL = "weights.model"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_UNUSED = ("processor", "prompt_enhancer", "duration_head")
"""Parts of newer checkpoints that rewrite the prompt or choose the length; neither is done here."""


@dataclass(frozen=True)
class Checkpoint:
    """Which weights, and how they are held."""

    model: str
    """A directory in diffusers' layout, or a hub id (`owner/name`)."""
    revision: str | None
    """Of the hub id; a directory has none."""
    version: Version
    dtype: torch.dtype
    device: str
    is_offloaded: bool
    """Whether each part is on the device only while it works."""
    is_tiled: bool
    """Whether frames are decoded in spatial tiles."""

    @property
    def is_local(self) -> bool:
        """Whether `model` is a directory on this machine."""
        return Path(self.model).is_dir()

    @property
    def name(self) -> str:
        """What a clip says it was made by: the hub id, or the directory's own name."""
        return Path(self.model).resolve().name if self.is_local else self.model


@dataclass(frozen=True)
class Ltx2Pipelines:
    """The same modules, three ways. None of them may run while another does."""

    encoder: Any
    """Everything, used for prompts alone."""
    from_text: Any
    from_image: Any
    prompt: HeldPrompt
    """What the two generating pipelines read as their prompt."""

    @property
    def device(self) -> torch.device:
        """Where the pipelines compute."""
        device: torch.device = self.encoder._execution_device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the transformer is fed."""
        dtype: torch.dtype = self.encoder.transformer.dtype
        return dtype

    @property
    def layers(self) -> int:
        """How many blocks the transformer has."""
        return int(self.encoder.transformer.config.num_layers)

    @property
    def sound_rate(self) -> int:
        """Of the vocoder, in Hz: 24000 for 2.0, 48000 since."""
        return int(self.encoder.vocoder.config.output_sampling_rate)

    def rest(self) -> None:
        """Let go of the prompt, and of the device where parts are offloaded; also after a run that was broken off."""
        self.prompt.hold((), torch.device("cpu"))
        self.encoder.maybe_free_model_hooks()


def resolve_dtype(name: Literal["auto", "bf16", "fp32"], device: str) -> torch.dtype:
    """Return the dtype of `name`; `auto` is bf16 on a GPU, which the weights were published in, and fp32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32


def load(checkpoint: Checkpoint) -> Ltx2Pipelines:
    """Load `checkpoint`. A directory is read without any network.

    Raises Misconfigured naming `weights.model`, `weights.revision`, `weights.version` or `weights.offload`, and
    OutOfMemory.
    """
    _check(checkpoint)
    diffusers_logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        encoder = _read(checkpoint)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Misconfigured(_MODEL, f"{checkpoint.model} is not a whole LTX-2: {error}") from error
    _check_whole(encoder)
    check_version(checkpoint.version, encoder.transformer.config)
    try:
        return _arrange(encoder, checkpoint)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"LTX-2 from {checkpoint.name}", checkpoint.device) from error


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


def _read(checkpoint: Checkpoint) -> Any:
    where = {"revision": checkpoint.revision, "local_files_only": checkpoint.is_local}
    unused = dict.fromkeys(_UNUSED)
    return LTX2Pipeline.from_pretrained(
        checkpoint.model,
        text_encoder=_read_text_encoder(checkpoint),
        dtype=checkpoint.dtype,
        use_safetensors=True,
        **where,
        **unused,
    )


def _read_text_encoder(checkpoint: Checkpoint) -> Any:
    """Return the text encoder, which transformers would fill with random numbers where the file lacks a tensor."""
    where = {"revision": checkpoint.revision, "local_files_only": checkpoint.is_local}
    index = LTX2Pipeline.load_config(checkpoint.model, **where)
    name = index.get("text_encoder", [None, ""])[1]
    kind = getattr(transformers, name or "", None)
    if kind is None:
        raise Misconfigured(_MODEL, f"{checkpoint.model} names no text encoder that transformers has")
    model, report = kind.from_pretrained(
        checkpoint.model,
        subfolder="text_encoder",
        dtype=checkpoint.dtype,
        use_safetensors=True,
        output_loading_info=True,
        **where,
    )
    # Only text is encoded: a checkpoint may leave the vision part out.
    if missing := sorted(key for key in report["missing_keys"] if "language_model" in key):
        raise Misconfigured(_MODEL, f"text_encoder lacks {len(missing)} tensors, {missing[0]} among them")
    return model.eval()


def _check_whole(pipeline: Any) -> None:
    """Raise Misconfigured where diffusers left a tensor out that the file lacked."""
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        missing = [key for key, tensor in part.named_parameters() if tensor.is_meta]
        if missing:
            raise Misconfigured(_MODEL, f"{name} lacks {len(missing)} tensors, {missing[0]} among them")


def _arrange(encoder: Any, checkpoint: Checkpoint) -> Ltx2Pipelines:
    if checkpoint.is_tiled:
        encoder.vae.enable_tiling()
    if checkpoint.is_offloaded:
        encoder.enable_model_cpu_offload(device=checkpoint.device)
    else:
        encoder.to(checkpoint.device)
    prompt = HeldPrompt()
    return Ltx2Pipelines(
        encoder=encoder,
        from_text=_generator(LTX2Pipeline, encoder, prompt),
        from_image=_generator(LTX2ImageToVideoPipeline, encoder, prompt),
        prompt=prompt,
    )


def _generator(kind: Any, encoder: Any, prompt: HeldPrompt) -> Any:
    """Return a pipeline around `encoder`'s modules, with a scheduler of its own and no text encoder to call."""
    pipeline = kind(
        scheduler=_scheduler(encoder.scheduler),
        vae=encoder.vae,
        audio_vae=encoder.audio_vae,
        text_encoder=None,
        tokenizer=None,
        connectors=prompt,
        transformer=encoder.transformer,
        vocoder=encoder.vocoder,
    )
    pipeline.video_processor = Quantiser(vae_scale_factor=pipeline.vae_spatial_compression_ratio, resample="bilinear")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _scheduler(published: Any) -> Any:
    """Return a scheduler that takes sigmas as they are; the published ones shift and stretch whatever they get."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=published.config.num_train_timesteps,
        shift=1.0,
        use_dynamic_shifting=False,
        shift_terminal=None,
    )
