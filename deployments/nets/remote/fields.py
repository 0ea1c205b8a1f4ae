"""What a server is told, by which name. What it cannot be told is refused here: it would be ignored there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from serve_app.core.errors import InvalidInput

Dialect = Literal["openai", "extended"]

VIDEO: Mapping[Dialect, Mapping[str, str]] = {
    "openai": {"size": "size", "seconds": "seconds"},
    "extended": {
        "size": "size",
        "seconds": "seconds",
        "frames": "num_frames",
        "fps": "fps",
        "steps": "num_inference_steps",
        "guidance": "guidance_scale",
        "negative_prompt": "negative_prompt",
        "seed": "seed",
    },
}
"""Ours: theirs. ``openai`` is platform.openai.com/docs/api-reference/videos; ``extended`` adds what vLLM-Omni, SGLang
and FastVideo read beside it."""

PICTURE: Mapping[Dialect, Mapping[str, str]] = {
    "openai": {"size": "size"},
    "extended": {
        "size": "size",
        "steps": "num_inference_steps",
        "guidance": "guidance_scale",
        "negative_prompt": "negative_prompt",
        "seed": "seed",
    },
}
"""The same for platform.openai.com/docs/api-reference/images."""


def told(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return ``given`` (ours: value, None for what nobody asked for) under the server's names.

    Raises InvalidInput naming what was asked for and has no name there.
    """
    for ours, value in given.items():
        if value is not None and ours not in names:
            raise InvalidInput(ours, "this server is not told of it (weights.fields), so it would have no effect")
    return {names[ours]: value for ours, value in given.items() if value is not None}


def seconds_for(frames: int, fps: float, choices: tuple[int, ...]) -> str:
    """Return the length to ask for, in s, as text: the shortest of ``choices`` (all, if empty) that holds ``frames``.

    Raises InvalidInput naming ``frames`` when none does.
    """
    needed = frames / fps
    if not choices:
        return f"{needed:.6g}"
    fitting = [choice for choice in sorted(choices) if choice >= needed - 1e-9]
    if not fitting:
        raise InvalidInput("frames", f"{frames} at {fps:g} fps is {needed:.3g} s; the server makes {max(choices)} s")
    return str(fitting[0])
