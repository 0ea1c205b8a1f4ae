"""Small real stages for tests of the graph and the queue: numbers for pictures, and a gate that minds the seed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.artifacts.local import LocalArtifacts
from serve_app.core.artifact import Artifact
from serve_app.core.errors import Rejected, Unavailable
from serve_app.core.media import Clip
from serve_app.core.score import Finding, Score, Verdict
from serve_app.core.stage import Context, Strict
from serve_app.graph.callers import Call, Caller, InProcess
from serve_app.graph.host import Place
from serve_app.graph.plan import Deployment, Plan, compile_plan, deployment_of
from serve_app.graph.record import Called, Resources
from serve_app.graph.spec import parse_pipeline


class Flat:
    """Makes a clip of one brightness: the seed modulo 256."""

    class Weights(Strict):
        """None."""

    class Params(Strict):
        """``frames`` of 2x2 px, each taking ``pause_s`` seconds; ``usd`` is charged before them."""

        frames: int = 2
        pause_s: float = 0.0
        usd: float = 0.0

    def load(self, weights: Weights, context: Context) -> None:
        self._context = context

    def run(self, params: Params, *, seed: int) -> Clip:
        if params.usd:
            self._context.charge(params.usd, "a picture from elsewhere")
        for index in range(params.frames):
            time.sleep(params.pause_s)
            self._context.progress(index + 1, params.frames)
        self._context.note("level", seed % 256)
        frames = np.full((params.frames, 2, 2, 3), seed % 256, np.uint8)
        return Clip(frames, Fraction(24), "flat")


class Brightness:
    """Scores a clip by its brightness in percent; below ``dark`` points it fails, and black is no clip at all."""

    class Weights(Strict):
        """None."""

    class Params(Strict):
        """Points below which the clip fails."""

        dark: float = 50.0

    def load(self, weights: Weights, context: Context) -> None:
        self._context = context

    def run(self, params: Params, *, clip: Clip) -> Score:
        points = float(clip.frames.mean()) / 2.55
        verdict = Verdict.PASS if points >= params.dark else Verdict.FAIL if points else Verdict.REJECT
        finding = Finding("dark", verdict, points, "points", "too dark" if verdict else "bright", 0, None, params.dark)
        return Score("brightness", points, verdict.word, (finding,))


class Gate:
    """Turns failed clips away."""

    gates = "clip"

    class Weights(Strict):
        """None."""

    class Params(Strict):
        """None."""

    def load(self, weights: Weights, context: Context) -> None:
        self._context = context

    def run(self, params: Params, *, clip: Clip, score: Score) -> Clip:
        worst = score.worst
        if worst is not None and worst.verdict >= Verdict.FAIL:
            raise Rejected(worst.detector, worst.frame, worst.value, worst.reason, worst.verdict is Verdict.REJECT)
        return clip


class Dump:
    """Writes a clip's brightness as JSON."""

    class Weights(Strict):
        """None."""

    class Params(Strict):
        """None."""

    def load(self, weights: Weights, context: Context) -> None:
        self._context = context

    def run(self, params: Params, *, clip: Clip) -> Artifact:
        data = json.dumps(int(clip.frames[0, 0, 0, 0])).encode()
        return self._context.artifacts.put_bytes(data, "application/json", "clip.json", {})


DEPLOYMENTS: dict[str, Deployment] = {
    name: deployment_of(name, name, stage, {})
    for name, stage in {"flat": Flat, "brightness": Brightness, "gate": Gate, "dump": Dump}.items()
}

PIPELINE: dict[str, Any] = {
    "version": 1,
    "name": "bright",
    "inputs": {
        "seed": "seed",
        "frames": {"type": "integer", "default": 2},
        "pause_s": {"type": "number", "default": 0},
        "usd": {"type": "number", "default": 0},
    },
    "nodes": {
        "draft": {
            "use": "flat",
            "with": {"frames": "$frames", "pause_s": "$pause_s", "usd": "$usd"},
            "take": {"seed": "$seed"},
        },
        "judge": {"use": "brightness", "take": {"clip": "draft"}},
        "sheet": {"use": "dump", "take": {"clip": "draft"}},
        "gate": {"use": "gate", "take": {"clip": "draft", "score": "judge"}},
        "file": {"use": "dump", "take": {"clip": "gate"}},
    },
    "outputs": {"file": "file", "sheet": "sheet", "score": "judge"},
    "policy": {"attempts": 3},
}
"""A seed of 200 is bright and passes; a seed of 10 is dark and is rejected."""


def bright(**policy: Any) -> Plan:
    """Return the pipeline above, compiled, with another policy."""
    return compile_plan(parse_pipeline({**PIPELINE, "policy": policy or PIPELINE["policy"]}, "test"), DEPLOYMENTS)


def in_process(root: Path) -> InProcess:
    """Return a caller whose stages live here and whose artifacts live in ``root``."""
    place = Place("cpu", 1, Resources(), LocalArtifacts(root / "artifacts"), root / "scratch")
    return InProcess(lambda deployment: place)


class Counting:
    """A caller that counts its calls by node, and may do something else before one."""

    def __init__(self, inner: Caller, before: Callable[[str, int], None] = lambda node, count: None) -> None:
        self._inner, self._before = inner, before
        self.calls: dict[str, int] = {}

    async def call(self, call: Call) -> Called:
        node = call.step.node
        self.calls[node] = self.calls.get(node, 0) + 1
        self._before(node, self.calls[node])
        return await self._inner.call(call)

    async def prepare(self, call: Call) -> None:
        await self._inner.prepare(call)


def lose(lost: str, times: int) -> Callable[[str, int], None]:
    """Return a `before` that loses the replica of ``lost`` on its first ``times`` calls."""

    def before(node: str, count: int) -> None:
        if node == lost and count <= times:
            raise Unavailable(node, "its replica died")

    return before
