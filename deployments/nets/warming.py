"""Renders at load: the compiler's work is done before the first request, and an attention backend has proven itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deployments.nets.held import Options
from serve_app.core.errors import Misconfigured
from serve_app.core.media import Image

_STEPS = 4
_SMALL = "64x64x9"
# Two lengths: the compiler takes the first for fixed, and only then makes code for any.
PROMPTS = (
    {"prompt": "a red fox"},
    {"prompt": "a red fox walks through deep snow, its breath white in the cold light of an early morning"},
)
_BROKEN = (ValueError, RuntimeError, NotImplementedError, ImportError, AssertionError)


def warm_up(
    stage: Any, weights: Options, images: tuple[bool, ...] = (False,), texts: Sequence[Mapping[str, Any]] = PROMPTS
) -> None:
    """Let a loaded `stage` render each size of `weights.warm_up`, where its blocks are compiled; else a small one.

    `images` says whether from a picture: what changes the transformer's work is rendered both ways. `texts` are what is
    told, by port. Nothing is rendered where the options need no proof. Raises Misconfigured naming `weights.compile` or
    `weights.attention`.
    """
    if weights.compile == "none" and weights.attention in ("auto", "native"):
        return
    shapes: tuple[str, ...] = (_SMALL,)
    if weights.compile == "blocks":
        shapes = weights.warm_up or ("",)
    for shape in shapes:
        for has_image in images:
            for text in texts:
                _render(stage, weights, _params(stage, shape), text, has_image)


def _render(stage: Any, weights: Options, params: Any, text: Mapping[str, Any], has_image: bool) -> None:
    given = {"image": Image(np.zeros((params.height, params.width, 3), np.uint8))} if has_image else {}
    try:
        stage.run(params, seed=0, **text, **given)
    except _BROKEN as error:
        field = "compile" if weights.compile == "blocks" else "attention"
        reason = f"{getattr(weights, field)} does not work here: {type(error).__name__}: {error}"
        raise Misconfigured(f"weights.{field}", reason) from error


def _params(stage: Any, shape: str) -> Any:
    """Return params of `shape`, or of the default size where it is empty; a picture leaves the frames out."""
    sizes = dict(zip(("width", "height", "frames"), map(int, shape.split("x")), strict=False)) if shape else {}
    known = {name: size for name, size in sizes.items() if name in stage.Params.model_fields}
    return stage.Params(**known, steps=_STEPS)
