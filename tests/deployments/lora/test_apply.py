"""Applying and undoing: to the bit, whatever happens between, and within an ulp where numbers are short."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from deployments.nets.lora.apply import Baked, Unfused
from deployments.nets.lora.loaded import Loaded, Seat, Source, layer_at, load
from deployments.nets.lora.places import Base
from serve_app.core.errors import Misconfigured
from tests.deployments.lora.bases import parts_of
from tests.deployments.lora.files import Made, Make, make

CPU = torch.device("cpu")
BF16 = torch.bfloat16


def _halved() -> dict[str, torch.nn.Module]:
    """Return a model of its own, in bf16."""
    parts = {name: copy.deepcopy(part) for name, part in parts_of("ltx2").items()}
    for part in parts.values():
        torch.nn.Module.to(part, BF16)  # that of diffusers warns
    return parts


def _load(made: Made, parts: dict[str, torch.nn.Module], path: Path, dtype: torch.dtype | None) -> Loaded:
    return load(Source(made.save(path), path.name), Base("ltx2", parts), parts, Seat(CPU, dtype))


def _bits(parts: dict[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": tensor.clone() for name, part in parts.items() for key, tensor in part.state_dict().items()
    }


def _is_same(parts: dict[str, torch.nn.Module], bits: dict[str, torch.Tensor]) -> bool:
    now = _bits(parts)
    return now.keys() == bits.keys() and all(torch.equal(tensor, bits[key]) for key, tensor in now.items())


def _is_untouched(parts: dict[str, torch.nn.Module]) -> bool:
    layers = [layer for part in parts.values() for layer in part.modules()]
    return not any(layer._forward_hooks or "forward" in vars(layer) for layer in layers)


def _ulp(values: torch.Tensor) -> torch.Tensor:
    """Return the distance of neighbouring bf16 numbers (8 bits of significand) at each magnitude."""
    return torch.exp2(torch.floor(torch.log2(values.abs().clamp_min(1e-30))) - 7)


@pytest.fixture
def short() -> dict[str, torch.nn.Module]:
    return _halved()


def test_a_hundred_cycles_of_mixed_adapters_leave_the_base_as_it_was(
    short: dict[str, torch.nn.Module], tmp_path: Path
) -> None:
    bits, order = _bits(short), random.Random(0)
    kinds = [
        Make("ltx2", "comfy", seed=1),
        Make("ltx2", "kohya", rank=7, seed=2),
        Make("ltx2", "peft", seed=3, only="attn"),
    ]
    files = [make(kind) for kind in kinds]
    hooked = [_load(made, short, tmp_path / f"h{index}", BF16) for index, made in enumerate(files)]
    kept = [_load(made, short, tmp_path / f"k{index}", None) for index, made in enumerate(files)]
    baked = Baked(short, CPU)
    for cycle in range(100):
        chosen = order.sample(range(3), order.randint(1, 3))
        strengths = [order.choice([0.65, -0.3, 1.0, 2.5]) for _ in chosen]
        if cycle % 2:
            baked.hold(cycle, [(kept[index], strength) for index, strength in zip(chosen, strengths, strict=True)])
            if cycle % 4 == 1:
                baked.release()
                assert _is_same(short, bits)
        else:
            baked.release()
            worn = [(hooked[index], strength) for index, strength in zip(chosen, strengths, strict=True)]
            with Unfused(short, worn).applied():
                assert _is_same(short, bits)
    baked.release()
    assert _is_same(short, bits)
    assert _is_untouched(short)


def test_a_set_is_baked_from_the_pristine_weights_whatever_was_baked_before(
    short: dict[str, torch.nn.Module], tmp_path: Path
) -> None:
    first = _load(make(Make("ltx2", seed=1)), short, tmp_path / "1", None)
    second = _load(make(Make("ltx2", seed=2, only="attn1")), short, tmp_path / "2", None)
    baked = Baked(short, CPU)
    baked.hold("second", [(second, 0.5)])
    alone = _bits(short)
    baked.hold("first", [(first, 1.0)])
    baked.hold("both", [(first, 1.0), (second, -2.0)])
    baked.hold("second", [(second, 0.5)])
    assert _is_same(short, alone)
    assert baked.pristine_bytes < sum(tensor.nbytes for tensor in alone.values())
    baked.release()
    assert baked.pristine_bytes == 0


def test_baking_rounds_once_from_fp32(short: dict[str, torch.nn.Module], tmp_path: Path) -> None:
    made = make(Make("ltx2", "comfy", rank=175, dtype=torch.float8_e4m3fn))
    bits = _bits(short)
    Baked(short, CPU).hold("x", [(_load(made, short, tmp_path / "x", None), 0.65)])
    for path, dense in made.dense.items():
        exact = bits[f"{path}.weight"].double() + 0.65 * dense
        weight = layer_at(short, path).weight
        assert isinstance(weight, torch.Tensor)
        assert ((weight.double() - exact).abs() <= 0.5 * _ulp(exact) + 1e-6).all(), path


def test_unfused_outputs_are_within_an_ulp_of_the_dense_formula(
    short: dict[str, torch.nn.Module], tmp_path: Path
) -> None:
    made = make(Make("ltx2", "comfy", rank=175, dtype=torch.float8_e4m3fn))
    loaded = _load(made, short, tmp_path / "x", BF16)
    generator = torch.Generator().manual_seed(0)
    with Unfused(short, [(loaded, 0.65)]).applied():
        for path, dense in made.dense.items():
            layer = layer_at(short, path)
            assert isinstance(layer, torch.nn.Linear)
            x = torch.randn(16, layer.in_features, generator=generator).to(BF16)
            bias = None if layer.bias is None else layer.bias.double()
            exact = functional.linear(x.double(), layer.weight.double() + 0.65 * dense, bias)
            # At the size of the layer's outputs: near zero, where products cancel, no sum of bf16 products has an ulp.
            assert (layer(x).double() - exact).abs().max() <= _ulp(exact.abs().max()), path


def test_hooks_go_when_a_render_fails(short: dict[str, torch.nn.Module], tmp_path: Path) -> None:
    made = make(Make("ltx2"))
    made.tensors["transformer.proj_out.diff_b"] = torch.ones(16)
    unfused, bits = Unfused(short, [(_load(made, short, tmp_path / "x", BF16), 1.0)]), _bits(short)

    def fail() -> None:
        with unfused.applied():
            assert not _is_same(short, bits)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert _is_same(short, bits)
    assert _is_untouched(short)


def test_a_bake_that_fails_half_way_leaves_the_base(short: dict[str, torch.nn.Module], tmp_path: Path) -> None:
    loaded = _load(make(Make("ltx2")), short, tmp_path / "x", None)
    bits, baked = _bits(short), Baked(short, CPU)
    last = layer_at(short, "connectors.audio_connector.transformer_blocks.0.ff.net.2")
    kept = last.weight
    del last.weight
    with pytest.raises(AttributeError):
        baked.hold("x", [(loaded, 1.0)])
    last.weight = kept
    assert _is_same(short, bits)


def test_weights_in_fp8_cannot_be_baked_into_and_can_be_worn(short: dict[str, torch.nn.Module], tmp_path: Path) -> None:
    made = make(Make("ltx2", only="transformer_blocks.0.attn1.to_q"))
    layer = layer_at(short, "transformer.transformer_blocks.0.attn1.to_q")
    assert isinstance(layer, torch.nn.Linear)
    plain = functional.linear(torch.ones(1, 64, dtype=BF16), layer.weight.to(torch.float8_e4m3fn).to(BF16), layer.bias)
    layer.to(torch.float8_e4m3fn)
    loaded = _load(made, short, tmp_path / "x", BF16)
    with pytest.raises(Misconfigured, match="float8"):
        Baked(short, CPU).hold("x", [(loaded, 1.0)])
    unfused = Unfused(short, [(loaded, 1.0)])
    extra = unfused.extras["transformer.transformer_blocks.0.attn1.to_q"]
    worn = plain.clone()
    extra.add(torch.ones(1, 64, dtype=BF16), worn)
    assert not torch.equal(plain, worn)
    assert unfused.silent(CPU) == []


def test_an_adapter_too_faint_for_the_dtype_is_told_apart(short: dict[str, torch.nn.Module], tmp_path: Path) -> None:
    loaded = _load(make(Make("ltx2", only="proj_out")), short, tmp_path / "x", BF16)
    assert Unfused(short, [(loaded, 1.0)]).silent(CPU) == []
    assert {path for _, path in Unfused(short, [(loaded, 1e-12)]).silent(CPU)} == set(loaded.changes)
    kept = _load(make(Make("ltx2", only="proj_out")), short, tmp_path / "y", None)
    assert len(Baked(short, CPU).hold("x", [(kept, 1e-12)])) == len(kept.changes)


def test_the_dtype_of_each_layer_decides_in_a_model_of_two_dtypes(tmp_path: Path) -> None:
    parts = _halved()
    layer_at(parts, "transformer.time_embed").to(torch.float32)
    loaded = _load(make(Make("ltx2")), parts, tmp_path / "x", BF16)
    pairs = {path: change.pair for path, change in loaded.changes.items()}
    first, second = pairs["transformer.time_embed.linear"], pairs["transformer.proj_out"]
    assert first is not None
    assert second is not None
    assert (first.down.dtype, second.down.dtype) == (torch.float32, BF16)


@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_layer_whose_forward_somebody_else_replaced_gets_the_same(
    is_wrapped: bool, has_bias: bool, tmp_path: Path
) -> None:
    layer = torch.nn.Linear(8, 6, bias=has_bias)
    parts: dict[str, torch.nn.Module] = {"transformer": torch.nn.ModuleDict({"proj_out": layer})}
    made = Made({"proj_out.lora_A.weight": torch.randn(2, 8), "proj_out.lora_B.weight": torch.randn(6, 2)})
    loaded = load(Source(made.save(tmp_path / "x"), "x"), Base("flux", parts), parts, Seat(CPU, torch.float32))
    x, dense = torch.randn(3, 4, 8), made.tensors["proj_out.lora_B.weight"] @ made.tensors["proj_out.lora_A.weight"]
    own, calls = layer.forward, list[int]()

    def theirs(given: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return own(given)

    if is_wrapped:
        vars(layer)["forward"] = theirs
    with torch.no_grad(), Unfused(parts, [(loaded, 0.5), (loaded, 0.25)]).applied():
        assert torch.allclose(layer(x), functional.linear(x, layer.weight + 0.75 * dense, layer.bias), atol=1e-5)
    assert len(calls) == is_wrapped
    assert vars(layer).get("forward") is (theirs if is_wrapped else None)
