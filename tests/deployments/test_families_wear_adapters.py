"""Every generator that takes adapters: each layer of a render is the dense formula's, and nothing is left behind."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import deployments
from deployments.nets.lora.families import FAMILIES, FamilyName
from serve_app.core.adapter import Adapters
from serve_app.core.errors import BadAdapter, Cancelled
from serve_app.core.stage import contract_of
from tests.deployments.dressed import KINDS, Dressed, dress, is_close
from tests.deployments.lora.files import LAYOUTS

FAMILY_NAMES = tuple(KINDS)
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*CPU Autocast only supports:UserWarning")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[FamilyName, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family: kind.build(root / family) for family, kind in KINDS.items()}


@pytest.fixture(scope="module")
def dressed(weights: dict[FamilyName, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[FamilyName, Dressed]:
    return {family: dress(family, path, tmp_path_factory.mktemp("worn")) for family, path in weights.items()}


@contextmanager
def watched(worn: Dressed) -> Iterator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Keep the first input and output of every linear layer."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    handles = []
    for path, layer in worn.layers.items():

        def note(_: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor, path: str = path) -> None:
            seen.setdefault(path, (args[0].clone(), output.clone()))

        handles.append(layer.register_forward_hook(note))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def exact(worn: Dressed, path: str, x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Return what a layer with ``added`` to its weight gives, in fp64."""
    layer = worn.layers[path]
    with torch.no_grad():
        bias = None if layer.bias is None else layer.bias.double()
        return functional.linear(x.double(), layer.weight.double() + added, bias)


def test_every_family_of_adapters_has_a_generator_that_takes_them() -> None:
    takers = {
        name
        for name in deployments.names()
        if name.startswith("generate.") and "adapters" in contract_of(name, deployments.locate(name)).ports
    }
    assert takers == {f"generate.{family.replace('-', '_')}" for family in FAMILIES}
    assert set(KINDS) == set(FAMILIES)
    assert all("adapters" in kind.stage.mapping for kind in KINDS.values())


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_a_render_every_layer_gives_the_dense_formula(
    dressed: dict[FamilyName, Dressed], family: FamilyName, layout: str
) -> None:
    worn = dressed[family]
    made = worn.put("any", layout, alpha=2.0, is_varied=True)
    with watched(worn) as seen:
        worn.render("any@0.65")
    assert seen.keys() >= made.dense.keys(), "every layer of the file ran"
    for path, (x, output) in seen.items():
        wanted = exact(worn, path, x, 0.65 * made.dense.get(path, torch.zeros(())))
        assert (output.double() - wanted).abs().max() <= 1e-6 * max(1.0, float(wanted.abs().max())), path


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_in_bf16_every_layer_is_the_dense_formula_but_for_its_roundings(
    weights: dict[FamilyName, Path], family: FamilyName, tmp_path: Path
) -> None:
    worn = dress(family, weights[family], tmp_path, dtype="bf16")
    made = worn.put("any", "comfy", rank=8, dtype=torch.float8_e4m3fn)
    with watched(worn) as seen:
        worn.render("any@0.65")
    for path, (x, output) in seen.items():
        wanted, plain = (exact(worn, path, x, s * made.dense[path]) for s in (0.65, 0.0))
        # At the size of the largest number in the sum: where it and the base's cancel, no sum in bf16 has an ulp.
        largest = max(float(tensor.abs().max()) for tensor in (wanted, plain, wanted - plain))
        ulp = 2.0 ** (np.floor(np.log2(largest)) - (7 if output.dtype == torch.bfloat16 else 20))
        # Half an ulp for the layer's sum, half for the adapter's own, and what its narrow product lost.
        assert (output.double() - wanted).abs().max() <= 1.25 * ulp, path


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_render_is_that_of_the_dense_weights_and_the_next_is_the_bases(
    dressed: dict[FamilyName, Dressed], family: FamilyName
) -> None:
    worn = dressed[family]
    first, second = worn.put("first", "kohya", seed=1), worn.put("second", "peft", rank=5, seed=2, only="att")
    bits, base = worn.bits(), worn.render(seed=11)
    made = worn.render("first@0.65,second@-0.5", seed=11)
    if family == "ltx2":
        worn.stage._prompts._kept.clear()  # kept prompts know nothing of weights that were changed behind their back
    with worn.dense((first, 0.65), (second, -0.5)):
        assert is_close(worn.render(seed=11), made)
    if family == "ltx2":
        worn.stage._prompts._kept.clear()
    assert not is_close(base, made)
    assert worn.is_pristine(bits)
    assert np.array_equal(worn.render(seed=11), base)
    worn.desk.notes.clear()
    params = worn.stage.Params(**KINDS[family].small)
    worn.stage.run(params, prompt="a red fox", seed=11, adapters=Adapters(()))
    assert "adapters" not in worn.desk.notes


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_what_was_matched_is_counted_and_noted(dressed: dict[FamilyName, Dressed], family: FamilyName) -> None:
    worn = dressed[family]
    made = worn.put("counted", rank=175, dtype=torch.float8_e4m3fn)
    worn.render("counted@0.65")
    (note,) = worn.desk.notes["adapters"]
    (adapter,) = worn.find("counted").items
    count = len(made.dense)
    assert note["matched"] == f"{count}/{count}"
    assert (note["layers"], note["rank"], note["dtype"], note["strength"]) == (count, "175", "fp8_e4m3", 0.65)
    assert (note["sha256"], note["applied"], note["why"]) == (adapter.digest, "unfused", "as configured")
    assert not any("never ran" in warning for warning in worn.desk.warnings)


@pytest.mark.parametrize("way", ["unfused", "auto"])
def test_a_hundred_renders_with_mixed_adapters_leave_the_base_as_it_was(
    weights: dict[FamilyName, Path], way: str, tmp_path: Path
) -> None:
    worn = dress("flux", weights["flux"], tmp_path, adapters=way, dtype="bf16")
    for seed, name in enumerate("abc"):
        worn.put(name, "comfy", rank=3 + seed, seed=seed, only="" if seed else "single_transformer_blocks.0")
    bits, order, ways = worn.bits(), random.Random(0), set()
    sets = ["a", "b@0.65", "a@-0.3,c@2", "c,b@0.1,a", None]
    for cycle in range(100):
        names = sets[cycle // 20] if cycle % 20 < 12 else order.choice(sets)
        if cycle % 7 == 3:
            worn.desk.steps.clear()
            worn.desk.cancel_after = 1
            with pytest.raises(Cancelled):
                worn.render(names)
            worn.desk.cancel_after = None
        else:
            worn.render(names)
            ways |= {note["applied"] for note in worn.desk.notes.get("adapters", [])}
    assert ways == ({"unfused"} if way == "unfused" else {"unfused", "baked"})
    worn.render()
    assert worn.is_pristine(bits)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_left_to_choose_a_set_is_baked_once_it_is_in_use_for_long(
    weights: dict[FamilyName, Path], family: FamilyName, tmp_path: Path
) -> None:
    worn = dress(family, weights[family], tmp_path, adapters="auto")
    worn.put("often", "comfy", seed=1)
    worn.put("once", "peft", seed=2)
    bits, first, applied = worn.bits(), worn.render("often@0.65"), []
    for _ in range(12):
        assert is_close(worn.render("often@0.65"), first)
        (note,) = worn.desk.notes["adapters"]
        applied.append(note["applied"])
        assert len(worn.stage._rack._cache.keys) == 1, "one copy, whichever way"
    assert applied == sorted(applied, reverse=True)
    assert set(applied) == {"unfused", "baked"}
    assert re.fullmatch(r"worn for 1[6-9] passes in a row", note["why"])
    worn.render("once")
    assert worn.desk.notes["adapters"][0]["applied"] == "unfused"
    worn.render("often@0.65")
    assert worn.desk.notes["adapters"][0]["why"] == "another set than before"
    assert worn.is_pristine(bits)


def test_an_adapter_that_changes_nothing_beside_one_that_does_is_still_refused(
    dressed: dict[FamilyName, Dressed],
) -> None:
    worn = dressed["flux"]
    worn.put("loud", seed=1)
    worn.put("faint", seed=2)
    bits = worn.bits()
    with pytest.raises(BadAdapter, match="changes nothing at strength 1e-30") as caught:
        worn.render("loud,faint@1e-30")
    assert caught.value.file == "faint"
    assert worn.is_pristine(bits)


def test_layers_that_were_verified_in_another_model_are_counted_again(dressed: dict[FamilyName, Dressed]) -> None:
    from dataclasses import replace

    worn = dressed["flux"]
    worn.put("any")
    (adapter,) = worn.find("any").items
    stranger = Adapters((replace(adapter, layers=adapter.layers + 1),))
    with pytest.raises(BadAdapter, match="another model was checked"):
        worn.stage.run(worn.stage.Params(**KINDS["flux"].small), prompt="a fox", seed=1, adapters=stranger)


def test_an_adapter_for_one_expert_changes_that_expert_alone(dressed: dict[FamilyName, Dressed]) -> None:
    worn = dressed["wan"]
    made = worn.put("style-low-noise", "comfy")
    with watched(worn) as seen:
        worn.render("style-low-noise")
    for path, (x, output) in seen.items():
        added = made.dense[path] if path.startswith("transformer_2.") else torch.zeros(())
        wanted = exact(worn, path, x, added)
        assert (output.double() - wanted).abs().max() <= 1e-6 * max(1.0, float(wanted.abs().max())), path
    (note,) = worn.desk.notes["adapters"]
    assert note["layers"] == sum(path.startswith("transformer_2.") for path in made.dense)


def test_an_adapter_for_an_expert_without_a_step_is_told(dressed: dict[FamilyName, Dressed]) -> None:
    worn = dressed["wan"]
    worn.put("style-low-noise", "comfy")
    base, made = worn.render(steps=1), worn.render("style-low-noise", steps=1)
    assert "style-low-noise has no effect: its expert makes none of the 1 steps" in worn.desk.warnings
    assert np.array_equal(base, made)
    worn.render("style-low-noise")
    assert not any("has no effect" in warning for warning in worn.desk.warnings)
