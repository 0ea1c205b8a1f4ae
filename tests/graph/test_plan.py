"""From a pipeline to a plan: every mistake is found here, before any weight is loaded."""

from typing import Any

import pytest

from serve_app.core.errors import InvalidInput, Misconfigured
from serve_app.core.media import Image
from serve_app.core.stage import Context
from serve_app.graph.plan import Source, compile_plan, deployment_of
from serve_app.graph.spec import parse_pipeline
from tests.graph.tiny import STAGES, Nothing, plan

GIVEN: dict[str, Any] = {"prompt": "a cat", "seed": 7}


def test_steps_come_after_the_steps_they_need() -> None:
    nodes = [step.node for step in plan().steps]
    assert nodes == ["draft", "judge", "gate", "file"]


def test_a_port_knows_whether_an_input_or_a_step_feeds_it() -> None:
    steps = {step.node: step for step in plan().steps}
    assert steps["draft"].takes == {"prompt": Source("prompt", True), "seed": Source("seed", True)}
    assert steps["gate"].takes == {"clip": Source("draft", False), "score": Source("judge", False)}
    assert steps["gate"].needs == ["draft", "judge"]


PHOTO = {"inputs.image": {"type": "image", "optional": True}, "nodes.draft.take.image": "$image"}
CYCLE = {
    "inputs": {"prompt": "text", "seed": "seed"},
    "nodes": {
        "draft": {"use": "make", "take": {"prompt": "$prompt", "seed": "$seed"}},
        "judge": {"use": "judge", "take": {"clip": "first"}},
        "first": {"use": "gate", "take": {"clip": "second", "score": "judge"}},
        "second": {"use": "gate", "take": {"clip": "first", "score": "judge"}},
    },
    "outputs": {"score": "judge"},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes.draft.use": "mak"}, "nodes.draft.use: use: there is no 'mak'; did you mean make"),
        ({"nodes.draft.with.step": 3}, "nodes.draft.with: param: there is no 'step'; did you mean steps"),
        ({"nodes.draft.with.frames": 500}, "nodes.draft.with.frames: Input should be less than"),
        ({"nodes.draft.with.frames": 16}, "nodes.draft.with.frames: 16 is not 8k+1"),
        ({"nodes.draft.with.style": "$styl"}, "nodes.draft.with.style: input: there is no 'styl'"),
        ({"nodes.draft.take.promt": "$prompt"}, "nodes.draft.take: port: there is no 'promt'; did you mean prompt"),
        ({"nodes.draft.take.prompt": None}, "nodes.draft.take.prompt: make needs a str here"),
        ({"nodes.draft.take.prompt": "$promt"}, "nodes.draft.take.prompt: input: there is no 'promt'; did you mean"),
        ({"nodes.judge.take.clip": "drft"}, "nodes.judge.take.clip: node: there is no 'drft'; did you mean draft"),
        ({"nodes.judge.take.clip": "file"}, "nodes.judge.take.clip: file is a Artifact, and clip takes a Clip"),
        ({"nodes.gate.take.score": "draft"}, "nodes.gate.take.score: draft is a Clip, and score takes a Score"),
        ({"nodes.draft.take.prompt": "$seed"}, "nodes.draft.take.prompt: $seed is a int, and prompt takes a str"),
        (PHOTO | {"nodes.draft.use": "photo"}, "nodes.draft.take.image: $image may be left out, and this port needs"),
        (CYCLE, "pipeline tiny: the nodes form a cycle: "),
        ({"nodes.twin": {"use": "judge", "take": {"clip": "draft"}}}, "nodes.twin: nothing takes its value and it is"),
        ({"inputs.extra": "text"}, "inputs.extra: no node uses it"),
        ({"outputs.video": "fil"}, "outputs.video: node: there is no 'fil'; did you mean file"),
        ({"outputs.video": "gate"}, "outputs.video: gate makes no artifact or score; encode it first"),
        ({"inputs.second": "seed"}, "inputs.second: seed is a seed already, and there is one at most"),
    ],
)
def test_a_mistake_is_refused_and_named(changes: dict[str, Any], message: str) -> None:
    if "inputs.second" in changes:
        changes |= {"nodes.more": {"use": "make", "take": {"prompt": "$prompt", "seed": "$second"}}}
        changes |= {"nodes.judge.take.clip": "more"}
    with pytest.raises(Misconfigured) as caught:
        plan(changes)
    assert message in str(caught.value)


def test_retrying_with_new_seeds_needs_a_seed() -> None:
    changes = {
        "inputs.seed": {"type": "integer", "default": 3},
        "policy": {"attempts": 2, "vary": "seed"},
    }
    with pytest.raises(Misconfigured, match=r"policy.vary: attempts cannot differ in their seed: tiny takes none"):
        plan(changes)


class Door:
    gates = "image"
    Weights = Nothing
    Params = Nothing

    def load(self, weights: Nothing, context: Context) -> None: ...

    def run(self, params: Nothing, *, image: Image) -> Image:
        raise NotImplementedError


def test_a_gate_guards_what_another_node_makes() -> None:
    document = {
        "version": 1,
        "name": "door",
        "inputs": {"image": "image"},
        "nodes": {"door": {"use": "door", "take": {"image": "$image"}}},
        "outputs": {"image": "door"},
    }
    with pytest.raises(Misconfigured, match=r"nodes\.door\.take\.image: door guards what another node makes"):
        compile_plan(parse_pipeline(document, "door.yaml"), {"door": deployment_of("door", "door", Door, {})})


def test_an_inputs_default_is_checked_with_the_params_that_take_it() -> None:
    with pytest.raises(Misconfigured, match=r"inputs\.frames: 16 is not 8k\+1"):
        plan({"inputs.frames": {"type": "integer", "default": 16}, "nodes.draft.with.frames": "$frames"})


def test_bind_fills_references_and_keeps_fixed_values() -> None:
    params = plan().bind(GIVEN | {"num_inference_steps": 12}).params["draft"]
    assert params.model_dump() == {"frames": 17, "steps": 12, "guidance": 1.0, "style": None}


def test_an_optional_input_that_is_left_out_leaves_the_stages_default() -> None:
    changes = {"inputs.guidance": {"type": "number", "optional": True}, "nodes.draft.with.guidance": "$guidance"}
    assert plan(changes).bind(GIVEN).params["draft"].model_dump()["guidance"] == 1.0


def test_a_params_mistake_is_blamed_on_the_input_that_set_it() -> None:
    changes = {"inputs.frames": {"type": "integer", "default": 9}, "nodes.draft.with.frames": "$frames"}
    with pytest.raises(InvalidInput) as caught:
        plan(changes).bind(GIVEN | {"frames": 10})
    assert str(caught.value) == "inputs.frames: 10 is not 8k+1"


def test_a_text_that_no_param_knows_is_blamed_on_its_input() -> None:
    changes = {"inputs.strict": {"type": "text", "default": "reject"}, "nodes.gate.with": {"on_fail": "$strict"}}
    with pytest.raises(InvalidInput, match=r"^inputs\.strict: Input should be 'reject' or 'warn'"):
        plan(changes).bind(GIVEN | {"strict": "maybe"})


def test_another_seed_changes_nothing_but_the_seed() -> None:
    bound = plan().bind(GIVEN | {"steps": 3})
    again = bound.with_seed(8)
    assert again.inputs == {**bound.inputs, "seed": 8}
    assert again.params == bound.params


def test_a_weights_mistake_names_the_deployment_and_the_field() -> None:
    with pytest.raises(Misconfigured, match=r"^stages\.big\.weights\.size: Input should be greater than or equal to 1"):
        deployment_of("big", "make", STAGES["make"], {"size": 0})
    with pytest.raises(Misconfigured, match=r"^stages\.big\.weights\.sise: Extra inputs are not permitted"):
        deployment_of("big", "make", STAGES["make"], {"sise": 1})
