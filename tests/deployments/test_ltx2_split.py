"""LTX-2 in two deployments: what encodes prompts, and what renders; together they are the one, to the bit."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import deployments
from deployments.adapt.lora import Lora
from deployments.adapt.ltx2_prompt import Ltx2Prompt
from deployments.nets.ltx2_prompts import Encoded
from deployments.nets.ltx2_texts import _encoded, blank, pack
from serve_app.core.adapter import WantedAdapters
from serve_app.core.conditioning import Conditioning
from serve_app.core.errors import BadAdapter, InvalidInput, Misconfigured
from serve_app.core.media import Clip
from serve_app.core.stage import BULKY
from serve_app.graph.callers import Call, InProcess
from serve_app.graph.plan import Plan, compile_plan, deployment_of
from serve_app.graph.spec import find_pipeline, parse_pipeline
from tests.deployments.desk import DeskContext
from tests.deployments.loaded_ltx2 import PROMPT, SEED, SMALL, LoadedLtx2, batches, load
from tests.deployments.lora.files import Made
from tests.deployments.tiny_ltx2 import build
from tests.graph.stages import in_process


@pytest.fixture(scope="module")
def texts(tiny_ltx2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Ltx2Prompt:
    stage = Ltx2Prompt()
    stage.load(Ltx2Prompt.Weights(model=str(tiny_ltx2_dir)), DeskContext(tmp_path_factory.mktemp("texts")))
    return stage


@pytest.fixture(scope="module")
def renderer(tiny_ltx2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedLtx2:
    return load(tiny_ltx2_dir, tmp_path_factory.mktemp("renderer"), text_encoder="none")


def _render(renderer: LoadedLtx2, given: Conditioning, **changes: Any) -> Clip:
    renderer.clear()
    adapters = changes.pop("adapters", None)
    params = type(SMALL)(**{**SMALL.model_dump(), **changes})
    return renderer.stage.run(params, conditioning=given, seed=SEED, adapters=adapters)


def _encode(texts: Ltx2Prompt, prompt: str = PROMPT, **params: Any) -> Conditioning:
    # As it comes out of another process.
    made: Conditioning = pickle.loads(pickle.dumps(texts.run(Ltx2Prompt.Params(**params), prompt=prompt)))
    return made


def test_neither_half_holds_the_others_weights(texts: Ltx2Prompt, renderer: LoadedLtx2) -> None:
    pipeline = texts._prompts._pipeline
    assert pipeline.transformer is None
    assert pipeline.vae is None
    assert renderer.part.text_encoder is None
    assert renderer.part.connectors is None
    assert "text_encoder" not in renderer.stage._held["weights_bytes"]


def test_the_two_halves_make_what_the_whole_makes_to_the_bit(
    ltx2: LoadedLtx2, texts: Ltx2Prompt, renderer: LoadedLtx2
) -> None:
    whole, halves = ltx2.make(), _render(renderer, _encode(texts))
    assert np.array_equal(whole.frames, halves.frames)
    assert whole.audio is not None
    assert halves.audio is not None
    assert np.array_equal(whole.audio.samples, halves.audio.samples)
    assert renderer.desk.notes["ltx2"]["text_encoder"] == "tiny-ltx2"


def test_so_they_do_with_guidance(ltx2: LoadedLtx2, texts: Ltx2Prompt, renderer: LoadedLtx2) -> None:
    given = _encode(texts, guidance=3, negative_prompt="blurry")
    halves = _render(renderer, given, guidance=3.0)
    assert np.array_equal(ltx2.make(guidance=3.0, negative_prompt="blurry").frames, halves.frames)
    assert renderer.desk.notes["ltx2"]["negative_prompt"] == "blurry"


def test_a_prompt_is_encoded_once_for_all_its_seeds(texts: Ltx2Prompt) -> None:
    with batches(texts._prompts._pipeline.text_encoder) as seen:
        _encode(texts, "a grey heron")
        _encode(texts, "a grey heron")
    assert len(seen) == 1


def test_bf16_travels_to_the_bit() -> None:
    tensor = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    one = Encoded(tensor, tensor * 2, torch.ones(1, 4, dtype=torch.int64), dropped=2)
    other = _encoded(pack("a fox", one))
    assert torch.equal(other.video, one.video)
    assert other.audio.dtype is torch.bfloat16
    assert other.dropped == 2


def test_what_warms_up_has_the_shape_of_a_prompt(texts: Ltx2Prompt, renderer: LoadedLtx2) -> None:
    real = _encode(texts)
    nothing = blank(renderer.part.transformer, real.encoder, real.tokens)
    for name, array in real.prompt.arrays.items():
        assert (nothing.prompt.arrays[name].shape, nothing.prompt.arrays[name].dtype) == (array.shape, array.dtype)


def test_in_2_3_the_two_halves_make_what_the_whole_makes_and_warm_up_as_it_reads(tmp_path: Path) -> None:
    """Its transformer has no caption projection, so prompts are as wide as its attention."""
    weights, version = build(tmp_path / "tiny-2.3", "2.3"), "2.3"
    words, renderer = Ltx2Prompt(), load(weights, tmp_path / "one", version=version, text_encoder="none")
    words.load(Ltx2Prompt.Weights(model=str(weights), version=version), DeskContext(tmp_path / "words"))
    given = _encode(words)
    whole = load(weights, tmp_path / "two", version=version).make()
    assert np.array_equal(_render(renderer, given).frames, whole.frames)
    nothing = blank(renderer.part.transformer, given.encoder, given.tokens)
    assert nothing.prompt.arrays["video"].shape == given.prompt.arrays["video"].shape
    assert nothing.prompt.arrays["audio"].shape == given.prompt.arrays["audio"].shape


def test_what_others_encoded_is_refused(texts: Ltx2Prompt, renderer: LoadedLtx2) -> None:
    given = _encode(texts)
    with pytest.raises(
        Misconfigured, match=r"weights\.text_encoder: .* the version 2\.3, and the transformer's is 2\.0"
    ):
        _render(renderer, replace(given, encoder=replace(given.encoder, version="2.3")))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"guidance": 3.0}, "guidance"),
        ({"negative_prompt": "blurry"}, "negative_prompt"),
        ({"negatives": "fidelity"}, "negatives"),
        ({"max_prompt_tokens": 256}, "max_prompt_tokens"),
    ],
)
def test_what_the_encoded_prompt_cannot_give_is_refused(
    texts: Ltx2Prompt, renderer: LoadedLtx2, params: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        _render(renderer, _encode(texts, max_prompt_tokens=512), **params)
    assert caught.value.field == field


def test_each_takes_the_one_prompt_that_it_can_read(ltx2: LoadedLtx2, texts: Ltx2Prompt, renderer: LoadedLtx2) -> None:
    with pytest.raises(InvalidInput, match="conditioning"):
        _render(ltx2, _encode(texts))
    with pytest.raises(InvalidInput, match="prompt"):
        renderer.make()


def test_an_adapter_that_changes_connectors_is_refused(
    ltx2: LoadedLtx2, texts: Ltx2Prompt, renderer: LoadedLtx2, tiny_ltx2_dir: Path, tmp_path: Path
) -> None:
    made = Made()
    for part, module in {"transformer": ltx2.part.transformer, "connectors": ltx2.part.connectors}.items():
        name, layer = next(one for one in module.named_modules() if isinstance(one[1], torch.nn.Linear))
        made.tensors[f"{part}.{name}.lora_A.weight"] = torch.ones(1, layer.in_features)
        made.tensors[f"{part}.{name}.lora_B.weight"] = torch.ones(layer.out_features, 1)
    made.save(tmp_path / "both.safetensors")
    lora = Lora()
    given: dict[str, Any] = {"family": "ltx2", "model": str(tiny_ltx2_dir), "directories": (str(tmp_path),)}
    lora.load(Lora.Weights(**given), renderer.desk)
    adapters = lora.run(Lora.Params(), adapter=WantedAdapters.parse("both"))
    with pytest.raises(BadAdapter):
        _render(renderer, _encode(texts), adapters=adapters)


def _plan(weights: Path, **changes: Any) -> Plan:
    document = find_pipeline("ltx2-split-1080p").model_dump(by_alias=True, mode="json")
    document["nodes"]["draft"]["with"] |= {"width": 64, "height": 64}
    given: dict[str, dict[str, Any]] = {
        "adapt.ltx2_prompt": {"model": str(weights)},
        "generate.ltx2": {"model": str(weights), "text_encoder": "none", **changes},
    }
    uses = {node["use"] for node in document["nodes"].values()}
    known = {use: deployment_of(use, use, deployments.locate(use), given.get(use, {})) for use in uses}
    return compile_plan(parse_pipeline(document, "ltx2-split-1080p"), known)


def _call(caller: InProcess, plan: Plan, node: str, values: dict[str, Any]) -> Any:
    bound = plan.bind({"prompt": PROMPT, "seed": SEED, "frames": 9, "steps": 3})
    step = next(step for step in plan.steps if step.node == node)
    call = Call(step, bound.params[node], values, lambda done, of: None)
    assert call.is_bulky
    return asyncio.run(caller.call(call)).value


def test_the_shipped_pipeline_makes_what_the_whole_makes(ltx2: LoadedLtx2, tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    """Both values stay by reference, so neither passes the runner."""
    plan, caller = _plan(tiny_ltx2_dir), in_process(tmp_path)
    assert Conditioning in BULKY
    given = _call(caller, plan, "words", {"prompt": PROMPT})
    clip = _call(caller, plan, "draft", {"conditioning": given, "seed": SEED})
    assert np.array_equal(clip.frames, ltx2.make().frames)


def test_it_is_refused_where_the_generator_encodes_for_itself(tiny_ltx2_dir: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nodes\.draft\.take\.conditioning: .*text encoder of their own"):
        _plan(tiny_ltx2_dir, text_encoder="own")
