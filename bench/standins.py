"""Stages that only take time, for benches of the order in which things happen: each sleeps on a device of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from serve_app.artifacts.local import LocalArtifacts
from serve_app.config import AppConfig
from serve_app.core.artifact import Artifact
from serve_app.core.media import Clip
from serve_app.core.score import Score
from serve_app.core.stage import Context, Strict
from serve_app.core.streaming import Chunk
from serve_app.graph.host import Host, Place
from serve_app.graph.plan import Deployment, deployment_of
from serve_app.graph.record import Resources
from serve_app.serving.replica import Replica

FRAMES = 97
_BLANK = np.zeros((FRAMES, 8, 8, 3), np.uint8)


class NoFields(Strict):
    """None."""


class Draft:
    """Takes ``seconds``, nine tenths of them before the first frame, as a generator denoises before it decodes."""

    Weights = NoFields

    class Params(Strict):
        """``seconds`` for the clip."""

        seconds: float = 2.85

    def load(self, weights: NoFields, context: Context) -> None:
        """Keep the context."""
        self._context = context

    @staticmethod
    def length(params: Params) -> int:
        """Return the frames of the clip."""
        return FRAMES

    def run(self, params: Params, *, seed: int) -> Clip:
        """Return a blank clip."""
        time.sleep(params.seconds)
        return Clip(_BLANK, Fraction(24), "stand-in")

    def stream(self, params: Params, *, seed: int) -> Iterator[Clip]:
        """Yield it in seven pieces."""
        time.sleep(0.9 * params.seconds)
        for piece in np.array_split(_BLANK, 7):
            time.sleep(0.1 * params.seconds / 7)
            yield Clip(piece, Fraction(24), "stand-in")


class Finish:
    """Takes ``seconds`` for a clip of 97 frames."""

    is_chunkwise = True
    Weights = NoFields

    class Params(Strict):
        """``seconds`` for the clip."""

        seconds: float = 2.92

    def load(self, weights: NoFields, context: Context) -> None:
        """Keep the context."""
        self._context = context

    def run(self, params: Params, *, clip: Clip) -> Clip:
        """Return the clip."""
        time.sleep(params.seconds * clip.shape.frames / FRAMES)
        return clip


class Judge:
    """Is content at once."""

    Weights = NoFields
    Params = NoFields

    def load(self, weights: NoFields, context: Context) -> None:
        """Keep the context."""
        self._context = context

    def run(self, params: NoFields, *, clip: Clip) -> Score:
        """Return full points."""
        return self.gather(params, clip=[0])

    def part(self, params: NoFields, *, clip: Chunk) -> int:
        """Return nothing of interest."""
        return clip.first

    def gather(self, params: NoFields, *, clip: Sequence[int]) -> Score:
        """Return full points."""
        return Score("stand-in", 100.0, "OK", ())


class Encode:
    """Takes a tenth of a second for a clip of 97 frames."""

    Weights = NoFields
    Params = NoFields

    def load(self, weights: NoFields, context: Context) -> None:
        """Keep the context."""
        self._context = context

    def run(self, params: NoFields, *, clip: Clip) -> Artifact:
        """Return a file."""
        return self.gather(params, clip=[self.part(params, clip=Chunk.whole(clip))])

    def part(self, params: NoFields, *, clip: Chunk) -> int:
        """Report every frame."""
        frames = clip.clip.shape.frames
        time.sleep(0.1 * frames / FRAMES)
        self._context.progress(frames, frames)
        return frames

    def gather(self, params: NoFields, *, clip: Sequence[int]) -> Artifact:
        """Return a file."""
        return self._context.artifacts.put_bytes(b"clip", "text/plain", "clip.txt", {"frames": sum(clip)})


STAGES = {"draft": Draft, "judge": Judge, "finish": Finish, "encode": Encode}


def deployments() -> dict[str, Deployment]:
    """Return the stand-ins as deployments under their own names."""
    return {name: deployment_of(name, name, stage, {}) for name, stage in STAGES.items()}


class StandIn(Replica):
    """A replica of a stand-in; all but what it hosts is the product's own."""

    def __init__(self, name: str, config: AppConfig) -> None:
        self._resources = Resources()
        artifacts = LocalArtifacts(Path(config.artifacts_path))
        self._hosts = {name: Host(deployments()[name], Place("cpu", 1, Resources(), artifacts, config.scratch_path))}
