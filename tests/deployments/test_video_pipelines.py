"""The shipped video pipelines through the planner, with small drafts and tiny weights: words, sizes, bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deployments
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip
from serve_app.graph.callers import Call, InProcess
from serve_app.graph.plan import Bound, Plan, compile_plan, deployment_of
from serve_app.graph.spec import find_pipeline, parse_pipeline
from tests.deployments import tiny_ltx_video, tiny_mochi, tiny_wan
from tests.graph.stages import in_process

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*CPU Autocast only supports:UserWarning")


@dataclass(frozen=True)
class Shipped:
    """A pipeline, what builds tiny weights for its generator, and a request under two names for everything."""

    name: str
    build: Callable[[Path], Path]
    ours: dict[str, Any]
    theirs: dict[str, Any]


PIPELINES = (
    Shipped(
        "wan-fidelity-1080p",
        tiny_wan.build,
        {"steps": 2, "guidance": 2, "guidance_low": 3, "frames": 5},
        {"num_inference_steps": 2, "guidance_scale": 2.0, "guidance_scale_2": 3.0, "num_frames": 5},
    ),
    Shipped(
        "ltx-video-fidelity-1080p",
        tiny_ltx_video.build,
        {"steps": 2, "guidance": 2, "fps": 24, "frames": 9},
        {"num_inference_steps": 2, "cfg": 2, "frame_rate": 24.0, "length": 9},
    ),
    Shipped(
        "mochi-fidelity",
        tiny_mochi.build,
        {"steps": 2, "guidance": 2, "frames": 7},
        {"num_inference_steps": 2, "cfg": 2.0, "num_frames": 7},
    ),
)


def _plan(shipped: Shipped, root: Path) -> Plan:
    """Return the pipeline with a draft of 48x32 px by tiny weights."""
    document = find_pipeline(shipped.name).model_dump(by_alias=True, mode="json")
    document["nodes"]["draft"]["with"] |= {"width": 48, "height": 32}
    known = {}
    for use in {node["use"] for node in document["nodes"].values()}:
        weights = {"model": str(shipped.build(root / "tiny"))} if use.startswith("generate.") else {}
        known[use] = deployment_of(use, use, deployments.locate(use), weights)
    return compile_plan(parse_pipeline(document, shipped.name), known)


def _draft(caller: InProcess, bound: Bound) -> Clip:
    step = next(step for step in bound.plan.steps if step.node == "draft")
    given = {port: bound.inputs[source.name] for port, source in step.takes.items()}
    values = {port: value for port, value in given.items() if value is not None}
    call = Call(step, bound.params["draft"], values, lambda done, of: None)
    clip: Clip = asyncio.run(caller.call(call)).value
    return clip


@pytest.mark.parametrize("shipped", PIPELINES, ids=lambda shipped: shipped.name)
def test_both_spellings_give_the_same_bytes(shipped: Shipped, tmp_path: Path) -> None:
    plan, caller = _plan(shipped, tmp_path), in_process(tmp_path)
    request = {"prompt": "a red fox", "seed": 7}
    ours, theirs = (plan.bind({**request, **words}) for words in (shipped.ours, shipped.theirs))
    assert ours.params == theirs.params
    one, other = _draft(caller, ours), _draft(caller, theirs)
    assert one.frames.shape == (shipped.ours["frames"], 32, 48, 3)
    assert np.array_equal(one.frames, other.frames)


@pytest.mark.parametrize("shipped", PIPELINES, ids=lambda shipped: shipped.name)
def test_what_a_family_cannot_make_is_refused_before_anything_is_loaded(shipped: Shipped, tmp_path: Path) -> None:
    plan = _plan(shipped, tmp_path)
    with pytest.raises(InvalidInput, match=r"inputs\.frames: 24 is not .k.1; the nearest are"):
        plan.bind({"prompt": "a fox", "seed": 1, "frames": 24})
    with pytest.raises(InvalidInput, match=r"inputs\.strength: there is no 'strength'"):
        plan.bind({"prompt": "a fox", "seed": 1, "strength": 0.5})


def test_a_scale_without_effect_is_refused_by_the_name_that_the_caller_used(tmp_path: Path) -> None:
    plan = _plan(PIPELINES[0], tmp_path)
    with pytest.raises(InvalidInput, match=r"inputs\.guidance_low: guidance 1 turns guidance off for both experts"):
        plan.bind({"prompt": "a fox", "seed": 1, "cfg": 1, "guidance_scale_2": 3})


def test_mochi_takes_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"inputs\.image: there is no 'image'"):
        _plan(PIPELINES[2], tmp_path).bind({"prompt": "a fox", "seed": 1, "image": "x"})
