"""What a model is told in its own terms: prompts that one deployment encoded and another renders.

It is megabytes, not the hundreds that a text encoder answers with: what a model's connectors made of those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy.typing as npt

from serve_app.core.errors import Misconfigured


@dataclass(frozen=True)
class Encoder:
    """What encoded a prompt. Only a model with the same weights can read it."""

    family: str
    """`ltx2`."""
    model: str
    """A hub id, or the name of a directory."""
    revision: str | None
    version: str
    dtype: str
    """What the arrays stand for: `bfloat16` lies in uint16, which numpy has."""
    config: str
    """The sha256 of the configurations that the parts share."""
    connectors: str | None = None
    """The sha256 of the connectors' weights; None where they are not at hand as files."""

    def require(self, wanted: Encoder) -> None:
        """Raise Misconfigured naming the first thing in which the encoder is not ``wanted``."""
        for field in fields(self):
            is_, should = getattr(self, field.name), getattr(wanted, field.name)
            if is_ != should and not (field.name == "connectors" and None in (is_, should)):
                reason = f"the prompt was encoded with the {field.name} {is_}, and the transformer's is {should}"
                raise Misconfigured("weights.text_encoder", reason)


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt: its ``arrays`` by name, batch 1, and what it said."""

    text: str
    arrays: Mapping[str, npt.NDArray[Any]]
    dropped: int
    """Tokens beyond the limit, which were not read."""

    @property
    def size_bytes(self) -> int:
        """What the arrays take."""
        return sum(array.nbytes for array in self.arrays.values())


@dataclass(frozen=True)
class Conditioning:
    """A prompt as a model reads it, and what to avoid, if it was encoded. Arrays may be read-only."""

    encoder: Encoder
    tokens: int
    """The limit that the prompts were cut to."""
    prompt: EncodedPrompt
    negative: EncodedPrompt | None = None

    @property
    def size_bytes(self) -> int:
        """What the arrays of both prompts take."""
        return self.prompt.size_bytes + (0 if self.negative is None else self.negative.size_bytes)
