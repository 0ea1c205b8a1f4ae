"""What made a picture or a clip rides with it: set once, handed on, and the same wherever it was made."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_app.artifacts.local import LocalArtifacts
from serve_app.core.adapter import Adapter, Adapters
from serve_app.core.artifact import Artifact
from serve_app.core.media import Clip, Image
from serve_app.core.score import Score
from serve_app.core.stage import Context, Strict
from serve_app.core.streaming import Chunk
from serve_app.graph.flow import Streaming
from serve_app.graph.host import Host, Place, Signal
from serve_app.graph.plan import compile_plan, deployment_of
from serve_app.graph.record import Resources
from serve_app.graph.run import Rules, walk
from serve_app.graph.spec import parse_pipeline
from tests.graph import chunked
from tests.graph.stages import Gate, in_process
from tests.graph.test_run import Notes
from tests.judging.films import pan, still

ADAPTER = Adapter("anime", "ab" * 32, 0.8, "flux", "peft", "bf16", (4, 4), 2, 2, 100)


class Maker:
    """Makes a clip; knows nothing of origins."""

    class Weights(Strict):
        """None."""

    class Params(Strict):
        """``steps``."""

        steps: int = 8

    def load(self, weights: Weights, context: Context) -> None:
        pass

    def run(
        self,
        params: Params,
        *,
        prompt: str,
        seed: int,
        image: Image | None = None,
        adapters: Adapters | None = None,
        score: Score | None = None,
    ) -> Clip:
        return Clip(np.zeros((2, 4, 4, 3), np.uint8), Fraction(24), "tiny")


class Finisher(Maker):
    """Works on another's clip."""

    def run(self, params: Maker.Params, *, clip: Clip) -> Clip:  # type: ignore[override]
        return replace(clip, frames=clip.frames + 1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("cpu", 1, Resources(), LocalArtifacts(tmp_path / "artifacts"), tmp_path / "scratch")


def call(place: Place, stage: type, values: dict[str, Any], **params: Any) -> Any:
    deployment = deployment_of("a-deployment", f"generate.{stage.__name__.lower()}", stage, {})
    made = deployment.contract.params.model_validate(params)
    return Host(deployment, place).call("node", made, values, Signal()).value


def test_what_a_stage_made_says_how(place: Place) -> None:
    clip = call(place, Maker, {"prompt": "a café", "seed": 7, "adapters": Adapters((ADAPTER,))}, steps=4)
    assert clip.origin == {
        "stage": "generate.maker",
        "model": "tiny",
        "params": {"steps": 4},
        "prompt": "a café",
        "seed": 7,
        "adapters": [{"name": "anime", "strength": 0.8, "sha256": "ab" * 32}],
    }


def test_params_that_nobody_gave_are_in_effect_too(place: Place) -> None:
    assert call(place, Maker, {"prompt": "", "seed": 1}).origin["params"] == {"steps": 8}


def test_an_uploaded_photo_is_known_by_its_digest(place: Place) -> None:
    photo: Artifact = place.artifacts.put_bytes(still(pan(1)[0]), "image/png", "photo.png", {})
    assert call(place, Maker, {"prompt": "", "seed": 1, "image": photo}).origin["image"] == {"sha256": photo.digest}


def test_a_picture_that_was_made_brings_its_own_origin(place: Place) -> None:
    photo = Image(np.zeros((4, 4, 3), np.uint8), "flux", {"stage": "generate.flux", "seed": 3})
    found = call(place, Maker, {"prompt": "", "seed": 1, "image": photo}).origin
    assert found["image"] == {"stage": "generate.flux", "seed": 3}
    assert found["seed"] == 1


def test_who_works_on_a_clip_is_added_and_hides_nothing(place: Place) -> None:
    draft = call(place, Maker, {"prompt": "a", "seed": 7})
    once = call(place, Finisher, {"clip": draft}, steps=2)
    twice = call(place, Finisher, {"clip": once}, steps=3)
    then = [{"stage": "generate.finisher", "params": {"steps": steps}} for steps in (2, 3)]
    assert twice.origin == {**draft.origin, "then": then}
    assert "then" not in draft.origin, "what others hold is not changed"


def test_a_gate_hands_on_the_very_clip(place: Place) -> None:
    draft = call(place, Maker, {"prompt": "a", "seed": 7})
    assert call(place, Gate, {"clip": draft, "score": Score("judge", 100.0, "OK", ())}) is draft


def test_the_same_call_has_the_same_origin_and_it_survives_a_trip(place: Place) -> None:
    one, other = (call(place, Maker, {"prompt": "a", "seed": 7}) for _ in range(2))
    assert one.origin == other.origin == pickle.loads(pickle.dumps(one)).origin


class Brighten(Finisher):
    """Works on every frame by itself."""

    is_chunkwise = True


class Tell:
    """Writes down the origin of its clip, which may come in chunks."""

    Weights = Maker.Weights

    class Params(Strict):
        """None."""

    def load(self, weights: Maker.Weights, context: Context) -> None:
        self._context = context

    def run(self, params: Params, *, clip: Clip) -> Artifact:
        return self.gather(params, clip=[self.part(params, clip=Chunk.whole(clip))])

    def part(self, params: Params, *, clip: Chunk) -> str:
        return json.dumps(clip.clip.origin, sort_keys=True)

    def gather(self, params: Params, *, clip: Sequence[str]) -> Artifact:
        said = "\n".join(sorted(set(clip)))
        return self._context.artifacts.put_bytes(said.encode(), "application/json", "origin.json", {})


def told(root: Path, chunk_frames: int | None, first: int | None) -> Any:
    """Return the origin that came through a draft, a gate that may replace the first frame, and a finisher."""
    own = {"brighten": Brighten, "tell": Tell}
    deployments = {**chunked.deployments(), **{name: deployment_of(name, name, own[name], {}) for name in own}}
    nodes = {
        "draft": {"use": "counter", "take": {"seed": "$seed"}},
        "judge": {"use": "steps", "take": {"clip": "draft"}},
        "gate": {"use": "pass", "with": {"first": first}, "take": {"clip": "draft", "score": "judge"}},
        "bright": {"use": "brighten", "take": {"clip": "gate"}},
        "file": {"use": "tell", "take": {"clip": "bright"}},
    }
    document = {"version": 1, "name": "told", "inputs": {"seed": "seed"}, "nodes": nodes, "outputs": {"file": "file"}}
    bound = compile_plan(parse_pipeline(document, "test"), deployments).bind({"seed": 5})
    rules = Rules(streaming=Streaming(chunk_frames, 2))

    async def keep(called: Any) -> None:
        pass

    outcome = asyncio.run(walk(bound, in_process(root), Notes(), rules, {}, keep))
    digest = outcome.done["file"].value.digest
    return json.loads(LocalArtifacts(root / "artifacts").path_of(digest).read_text())


@pytest.mark.parametrize("first", [None, 9])
@pytest.mark.parametrize("chunk_frames", [None, 3, 4])
def test_a_clip_in_chunks_has_the_origin_that_it_has_whole(
    tmp_path: Path, chunk_frames: int | None, first: int | None
) -> None:
    draft = {"stage": "counter", "model": "counter", "seed": 5, "params": {"frames": 9}}
    wanted = {**draft, "then": [{"stage": "brighten", "params": {"steps": 8}}]}
    assert told(tmp_path, chunk_frames, first) == wanted
