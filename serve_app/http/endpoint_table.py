"""The image and video endpoints that callers of an older service know: an address, the pipeline behind it, its words.

A default is what that service's own handler used. Two readings are not literal, and for a reason each:

- `/flux` samples FLUX.1 schnell, which reads no embedded guidance. There `cfg` has always been the sampler's real
  guidance, away from a negative prompt, so it is `true_cfg_scale` here; 1 is off.
- `/flux-dev` had `cfg` 1 as its default, which meant real guidance off while the transformer read its usual embedded
  3.5. Here `cfg` is that embedded guidance, as model card and callers have it, and its default 3.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Word:
    """A field of a body: how callers spell it, and the pipeline's input that it is."""

    name: str
    input: str
    aliases: tuple[str, ...] = ()
    default: Any = None
    """What stands in for it; None: the pipeline's own default, if it has one."""
    is_required: bool = False
    unless: str | None = None
    """Another field beside which the default does not apply."""
    is_for_guidance: bool = False
    """Whether the default applies only with a `cfg` above 1."""


@dataclass(frozen=True)
class Endpoint:
    """An address. It is there where one of ``pipelines`` is deployed with ``stage`` in the right ``variant``."""

    path: str
    stage: str
    pipelines: tuple[str, ...]
    """The first that is deployed answers."""
    words: tuple[Word, ...]
    variant: str | None = None
    """Of the stage's weights; None: any."""
    fixed: tuple[tuple[str, Any], ...] = ()
    """Inputs of the pipeline that no caller sets, and their values."""
    seed: int | None = None
    """The first seed where the caller names none and no table of seeds does; None: one is drawn."""

    @property
    def spellings(self) -> Mapping[str, Word]:
        """Every way to spell a field, and the field."""
        return {spelling: word for word in self.words for spelling in (word.name, *word.aliases)}


def _steps(default: int) -> Word:
    return Word("steps", "steps", ("num_inference_steps",), default)


def _cfg(default: float, of: str = "guidance") -> Word:
    return Word("cfg", of, ("guidance_scale",), default)


def _size(width: int, height: int, unless: str | None = None) -> tuple[Word, Word]:
    return Word("width", "width", (), width, unless=unless), Word("height", "height", (), height, unless=unless)


_PROMPT = Word("prompt", "prompt", is_required=True)
_SEED = Word("seed", "seed")
_NEGATIVE = Word("negative_prompt", "negative_prompt")
_GATE = Word("on_fail", "on_fail")
_PICTURE = (Word("subject", "subject"), Word("format", "format"), _GATE)
_LENGTH = Word("length", "frames", ("num_frames", "frames"), 33)


def _start(name: str) -> Word:
    return Word(name, "image", ("image",), is_required=True)


def _flux(path: str, variant: str, words: tuple[Word, ...]) -> Endpoint:
    own = f"flux-{variant}"
    return Endpoint(path, "generate.flux", (own, "flux-image"), words, variant=variant, seed=42)


def _qwen(path: str, variant: str, steps: int, cfg: float) -> Endpoint:
    shape = (Word("aspect_ratio", "aspect_ratio"), *_size(1328, 1328, unless="aspect_ratio"))
    words = (_PROMPT, _SEED, _NEGATIVE, *shape, _steps(steps), _cfg(cfg), *_PICTURE)
    return Endpoint(path, "generate.qwen_image", (f"qwen-image-{variant}", "qwen-image"), words, variant=variant)


def _z_image(path: str, preset: str, steps: int) -> Endpoint:
    words = (_PROMPT, _SEED, _NEGATIVE, *_size(1024, 1024), _steps(steps), _cfg(0.0), *_PICTURE)
    return Endpoint(path, "generate.z_image", ("z-image",), words, fixed=(("preset", preset),), seed=42)


def _film(*start: Word, width: int, height: int, steps: int, cfg: float) -> tuple[Word, ...]:
    moving = (_LENGTH, Word("fps", "fps", (), 16), Word("format", "format", (), "webp"), _GATE)
    return (_PROMPT, *start, _SEED, _NEGATIVE, *_size(width, height), _steps(steps), _cfg(cfg), *moving)


def _wan_26(*start: Word) -> tuple[Word, ...]:
    return _film(*start, width=832, height=480, steps=30, cfg=6.0)


_AWAY = Word("negative_prompt", "negative_prompt", (), "blurry, low quality, distorted", is_for_guidance=True)
"""Real guidance needs something to lead away from."""
_FLUX_WORDS = (_PROMPT, _SEED, *_size(1024, 1024))
_REMOTE = ("generate.remote", ("remote-video",))

ENDPOINTS: tuple[Endpoint, ...] = (
    _flux("/flux", "schnell", (*_FLUX_WORDS, _AWAY, _steps(4), _cfg(1.0, of="true_cfg_scale"), *_PICTURE)),
    _flux("/flux-dev", "dev", (*_FLUX_WORDS, _NEGATIVE, _steps(20), _cfg(3.5), *_PICTURE)),
    _qwen("/qwen-image-2512", "standard", 50, 4.0),
    _qwen("/qwen-image-2512-fast", "lightning", 4, 1.0),
    _z_image("/z-image-simple", "simple", 4),
    _z_image("/z-image-danrisi", "danrisi", 8),
    Endpoint("/wan2.6", *_REMOTE, _wan_26(), seed=42),
    Endpoint("/wan2.6-i2v", *_REMOTE, _wan_26(_start("reference_image")), seed=42),
    Endpoint(
        "/wan22-i2v",
        "generate.wan",
        ("wan-video",),
        _film(_start("source_image"), width=512, height=768, steps=20, cfg=3.5),
        variant="i2v-a14b",
        seed=42,
    ),
)

_FACES = "there is no stage that puts one face in place of another; the usual weights are for research alone"
_LORA = "adapters have an input of their own: POST /v1/runs with the pipeline flux-lora and its input `adapter`"
_OTHER = "there is no stage for its model"

UNSERVED: Mapping[str, str] = {
    "/image-faceswap": _FACES,
    "/video-faceswap": _FACES,
    "/batch-video-faceswap": _FACES,
    "/wan2.6-i2v-faceswap": _FACES,
    "/wan22-i2v-faceswap": _FACES,
    "/flux-lora": _LORA,
    "/flux-dev-lora": _LORA,
    "/flux-dev-realism": _LORA,
    "/qwen-image-2512-lora": _LORA,
    "/z-image-lora": _LORA,
    "/wan2.6-lora": _LORA,
    "/wan2.6-r2v": "no server that is reached through generate.remote takes reference videos yet",
    "/wan2": "Wan 2.1 is not deployed under this name; use /wan22-i2v or the pipeline wan-video",
    "/flux-pulid": _OTHER,
    "/flux-instantid": _OTHER,
    "/flux-ipadapter-faceid": _OTHER,
    "/z-image-instantid": _OTHER,
    "/z-image-pulid": _OTHER,
    "/sdxl-instantid": _OTHER,
    "/sdxl-turbo": _OTHER,
    "/sdxl-lightning": _OTHER,
    "/qwen-image-edit-2511": _OTHER,
    "/qwen-image-inpaint-2511": _OTHER,
    "/seedvr2": "clips are enlarged by upscale.edsr within a pipeline",
    "/workflow": "graphs are pipeline files: see docs/pipelines.md; `greenlight convert` reads ComfyUI's API format",
}
"""Endpoints of the same service that are not served, and why not."""
