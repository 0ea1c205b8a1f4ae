"""Small real stages that work on clips in chunks, and one pipeline of them: numbers for pictures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.core.artifact import Artifact
from serve_app.core.errors import Rejected
from serve_app.core.media import Audio, Clip
from serve_app.core.score import Finding, Score, Verdict
from serve_app.core.stage import Context, Strict
from serve_app.core.streaming import Chunk
from serve_app.graph.plan import Deployment, Plan, compile_plan, deployment_of
from serve_app.graph.spec import parse_pipeline
from tests.graph.stages import Flat, in_process

__all__ = ["in_process"]


class Nothing(Strict):
    """No fields."""


class Counter:
    """Makes a clip whose every frame shows its own number, with sound, in pieces of three frames."""

    Weights = Nothing

    class Params(Strict):
        """``frames`` of 2x2 px."""

        frames: int = 9

    def load(self, weights: Nothing, context: Context) -> None:
        self._context = context

    @staticmethod
    def length(params: Params) -> int:
        return params.frames

    def run(self, params: Params, *, seed: int) -> Clip:
        pieces = list(self.stream(params, seed=seed))
        return Clip(np.concatenate([piece.frames for piece in pieces]), Fraction(24), "counter", pieces[0].audio)

    def stream(self, params: Params, *, seed: int) -> Iterator[Clip]:
        sound = Audio(np.zeros((2, 100), np.float32), 2400)
        for start in range(0, params.frames, 3):
            numbers = np.arange(start, min(start + 3, params.frames), dtype=np.uint8) + np.uint8(seed)
            frames = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 2, 2, 3)).copy()
            self._context.progress(start + len(numbers), params.frames)
            yield Clip(frames, Fraction(24), "counter", sound if start == 0 else None)


class Add:
    """Adds 100 to every frame."""

    is_chunkwise = True
    Weights = Nothing
    Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None:
        self._context = context

    def run(self, params: Nothing, *, clip: Clip) -> Clip:
        self._context.note("added", 100)
        self._context.progress(clip.shape.frames, clip.shape.frames)
        return Clip(clip.frames + np.uint8(100), clip.fps, clip.model, clip.audio)


class Steps:
    """Scores the mean step between neighbours, which takes the frame before a chunk; 0 points fail."""

    wants_before = True
    Weights = Nothing
    Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None:
        self._context = context

    def run(self, params: Nothing, *, clip: Clip) -> Score:
        return self.gather(params, clip=[self.part(params, clip=Chunk.whole(clip))])

    def part(self, params: Nothing, *, clip: Chunk) -> list[int]:
        levels = [int(frame[0, 0, 0]) for frame in clip.clip.frames]
        if clip.before is not None:
            levels.insert(0, int(clip.before[0, 0, 0]))
        return [after - before for before, after in pairwise(levels)]

    def gather(self, params: Nothing, *, clip: Sequence[list[int]]) -> Score:
        steps = [step for part in clip for step in part]
        points = float(np.mean(steps)) if steps else 1.0
        verdict = Verdict.PASS if points else Verdict.FAIL
        finding = Finding("steps", verdict, points, "levels", f"{len(steps)} steps", None)
        return Score("steps", points, verdict.word, (finding,), (), {"steps": float(len(steps))})


class Level:
    """Fails a clip that begins darker than 100. May be held back by a lock, as a slow judge would be."""

    Weights = Nothing
    Params = Nothing
    gate = threading.Event()

    def load(self, weights: Nothing, context: Context) -> None:
        self._context = context

    def run(self, params: Nothing, *, clip: Clip) -> Score:
        assert self.gate.wait(10)
        first = float(clip.frames[0, 0, 0, 0])
        verdict = Verdict.PASS if first >= 100 else Verdict.FAIL
        return Score("level", first, verdict.word, (Finding("level", verdict, first, "levels", "begins", 0),))


class Pass:
    """A gate that looks at the first chunk alone, and may put another first frame in."""

    gates = "clip"
    is_chunkwise = True
    Weights = Nothing

    class Params(Strict):
        """``first`` replaces frame 0."""

        first: int | None = None

    def load(self, weights: Nothing, context: Context) -> None:
        self._context = context

    def run(self, params: Params, *, clip: Clip, score: Score) -> Clip:
        worst = score.worst
        if worst is not None and worst.verdict >= Verdict.FAIL:
            raise Rejected(worst.detector, worst.frame, worst.value, worst.reason)
        if params.first is None:
            return clip
        frames = clip.frames.copy()
        frames[0] = params.first
        return Clip(frames, clip.fps, clip.model, clip.audio)


class Numbers:
    """Writes the number that every frame shows as JSON, and whether there is sound."""

    Weights = Nothing
    Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None:
        self._context = context

    def run(self, params: Nothing, *, clip: Clip) -> Artifact:
        return self.gather(params, clip=[self.part(params, clip=Chunk.whole(clip))])

    def part(self, params: Nothing, *, clip: Chunk) -> dict[str, Any]:
        levels = [int(frame[0, 0, 0]) for frame in clip.clip.frames]
        self._context.progress(len(levels), len(levels))
        return {"first": clip.first, "of": clip.of, "levels": levels, "sound": clip.clip.audio is not None}

    def gather(self, params: Nothing, *, clip: Sequence[dict[str, Any]]) -> Artifact:
        levels = [level for part in clip for level in part["levels"]]
        facts = {"sound": any(part["sound"] for part in clip), "sizes": [len(part["levels"]) for part in clip]}
        return self._context.artifacts.put_bytes(json.dumps(levels).encode(), "application/json", "n.json", facts)


class Boomerang:
    """Plays a clip forth and back: it needs the whole of it, and knows nothing of chunks."""

    Weights = Nothing
    Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None:
        self._context = context

    def run(self, params: Nothing, *, clip: Clip) -> Clip:
        frames = np.concatenate([clip.frames, clip.frames[-2::-1]])
        return Clip(frames, clip.fps, clip.model, clip.audio)


STAGES = {
    "counter": Counter,
    "flat": Flat,
    "add": Add,
    "steps": Steps,
    "level": Level,
    "pass": Pass,
    "numbers": Numbers,
    "boomerang": Boomerang,
}

PIPELINE: dict[str, Any] = {
    "version": 1,
    "name": "chunked",
    "inputs": {"seed": "seed", "frames": {"type": "integer", "default": 9}},
    "nodes": {
        "draft": {"use": "counter", "with": {"frames": "$frames"}, "take": {"seed": "$seed"}},
        "judge": {"use": "steps", "take": {"clip": "draft"}},
        "gate": {"use": "pass", "take": {"clip": "draft", "score": "judge"}},
        "add": {"use": "add", "take": {"clip": "gate"}},
        "final_judge": {"use": "level", "take": {"clip": "add"}},
        "final_gate": {"use": "pass", "take": {"clip": "add", "score": "final_judge"}},
        "file": {"use": "numbers", "take": {"clip": "final_gate"}},
    },
    "outputs": {"file": "file", "score": "judge"},
}


def deployments() -> dict[str, Deployment]:
    """Return every chunked stage as a deployment under its own name."""
    return {name: deployment_of(name, name, stage, {}) for name, stage in STAGES.items()}


def plan(**nodes: dict[str, Any]) -> Plan:
    """Compile the pipeline with some nodes changed, or added."""
    merged = {node: {**PIPELINE["nodes"].get(node, {}), **change} for node, change in nodes.items()}
    document = {**PIPELINE, "nodes": {**PIPELINE["nodes"], **merged}}
    return compile_plan(parse_pipeline(document, "test"), deployments())


def numbers_in(root: Path, artifact: Artifact) -> list[int]:
    """Return what `Numbers` wrote."""
    from serve_app.artifacts.local import LocalArtifacts

    path = LocalArtifacts(root / "artifacts").path_of(artifact.digest)
    found: list[int] = json.loads(path.read_text())
    return found
