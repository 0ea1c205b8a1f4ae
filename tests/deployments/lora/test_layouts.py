"""Every layout of every family does what the dense formula says, W + s * alpha/r * B @ A, unfused and baked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from deployments.nets.lora.apply import Baked, Unfused
from deployments.nets.lora.checks import verify
from deployments.nets.lora.families import FamilyName
from deployments.nets.lora.loaded import Loaded, Seat, Source, layer_at, load
from tests.deployments.lora.bases import FAMILY_NAMES, base_of, linear_layers, parts_of
from tests.deployments.lora.files import LAYOUTS, Made, Make, make

CPU = torch.device("cpu")
STRENGTH = 0.65


def _loaded(what: Make, made: Made, directory: Path, dtype: torch.dtype | None = torch.float32) -> Loaded:
    path = made.save(directory / "adapter.safetensors")
    return load(Source(path, path.name), base_of(what.family), parts_of(what.family), Seat(CPU, dtype))


def _largest_error(family: FamilyName, made: Made, strength: float) -> float:
    """Return the largest difference between any layer's output and the dense formula's, in fp64."""
    generator, worst = torch.Generator().manual_seed(1), 0.0
    for path, layer in linear_layers(family).items():
        x = torch.randn(5, layer.in_features, generator=generator)
        weight = layer.weight.double() + strength * made.dense.get(path, torch.zeros(()))
        bias = None if layer.bias is None else layer.bias.double()
        worst = max(worst, float((layer(x) - functional.linear(x.double(), weight, bias)).abs().max()))
    return worst


CASES = [(family, layout) for family in FAMILY_NAMES for layout in LAYOUTS]


@pytest.mark.parametrize(("family", "layout"), CASES)
@pytest.mark.parametrize("alpha", [None, 1.5])
def test_unfused_it_is_the_dense_formula(family: FamilyName, layout: str, alpha: float | None, tmp_path: Path) -> None:
    what = Make(family, layout, alpha=alpha, is_varied=True)
    made = make(what)
    unfused = Unfused(parts_of(family), [(_loaded(what, made, tmp_path), STRENGTH)])
    with unfused.applied():
        assert _largest_error(family, made, STRENGTH) < 1e-6
    assert set(unfused.extras) == set(made.dense)
    assert _largest_error(family, Made(), 0) < 1e-6


@pytest.mark.parametrize(("family", "layout"), CASES)
def test_baked_it_is_the_dense_formula(family: FamilyName, layout: str, tmp_path: Path) -> None:
    what = Make(family, layout, alpha=2.0)
    made = make(what)
    baked = Baked(parts_of(family), CPU)
    try:
        assert baked.hold("x", [(_loaded(what, made, tmp_path, None), STRENGTH)]) == []
        for path, dense in made.dense.items():
            original = baked._pristine.original(f"{path}.weight").double()
            assert torch.allclose(linear_layers(family)[path].weight.double(), original + STRENGTH * dense, atol=1e-6)
    finally:
        baked.release()


@pytest.mark.parametrize(("family", "layout"), CASES)
def test_every_pair_is_counted(family: FamilyName, layout: str, tmp_path: Path) -> None:
    made = make(Make(family, layout))
    path = made.save(tmp_path / "adapter.safetensors")
    found = verify(path, path.name, base_of(family))
    assert (found.working, found.match.pairs, found.layers) == (made.pairs, made.pairs, len(made.dense))
    assert found.match.ranks == (3, 3)


FUSED: list[tuple[FamilyName, str]] = [
    (family, layout) for family in ("flux", "z-image") for layout in ("comfy", "comfy, down and up", "kohya")
]


@pytest.mark.parametrize(("family", "layout"), FUSED)
def test_stacked_adapters_are_taken_apart_with_alpha_and_rank_kept(
    family: FamilyName, layout: str, tmp_path: Path
) -> None:
    what = Make(family, layout, alpha=1.5, is_stacked=True)
    made = make(what)
    loaded = _loaded(what, made, tmp_path)
    with Unfused(parts_of(family), [(loaded, STRENGTH)]).applied():
        assert _largest_error(family, made, STRENGTH) < 1e-6
    queries = [change.pair for path, change in loaded.changes.items() if path.endswith("to_q")]
    assert {pair.down.shape[0] for pair in queries if pair} == {3}


def test_a_fused_pair_shares_its_half_instead_of_copying_it(tmp_path: Path) -> None:
    what = Make("flux", "comfy")
    changes = _loaded(what, make(what), tmp_path).changes
    block = "transformer.transformer_blocks.0.attn"
    query, key = changes[f"{block}.to_q"].pair, changes[f"{block}.to_k"].pair
    assert query is not None
    assert key is not None
    assert query.down is key.down


def test_rows_of_zeros_in_a_fused_pair_mean_that_a_layer_has_no_adapter(tmp_path: Path) -> None:
    what = Make("flux", "comfy", only="single_transformer_blocks.0")
    made = make(what)
    linear1 = made.tensors["diffusion_model.single_blocks.0.linear1.lora_B.weight"]
    linear1[-128:] = 0
    del made.dense["transformer.single_transformer_blocks.0.proj_mlp"]
    assert set(_loaded(what, made, tmp_path).changes) == set(made.dense)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_narrow_numbers_are_used_as_they_are(family: FamilyName, dtype: torch.dtype, tmp_path: Path) -> None:
    what = Make(family, "comfy", dtype=dtype)
    made = make(what)
    with Unfused(parts_of(family), [(_loaded(what, made, tmp_path), STRENGTH)]).applied():
        assert _largest_error(family, made, STRENGTH) < 2e-6


def test_a_difference_is_proportional_to_the_strength_at_rank_175_in_fp8(tmp_path: Path) -> None:
    what = Make("ltx2", "comfy", rank=175, dtype=torch.float8_e4m3fn)
    made = make(what)
    loaded = _loaded(what, made, tmp_path)
    for strength in (0.65, -1.0, 2.0):
        with Unfused(parts_of("ltx2"), [(loaded, strength)]).applied():
            assert _largest_error("ltx2", made, strength) < 5e-6


def test_several_adapters_add_up(tmp_path: Path) -> None:
    first, second = Make("ltx2", "comfy", seed=1), Make("ltx2", "peft", rank=5, seed=2, only="attn1")
    made = [make(first), make(second)]
    worn = [(_loaded(first, made[0], tmp_path), 0.5), (_loaded(second, made[1], tmp_path), -0.25)]
    both = Made(dense={path: 0.5 * dense for path, dense in made[0].dense.items()})
    for path, dense in made[1].dense.items():
        both.dense[path] = both.dense[path] - 0.25 * dense
    with Unfused(parts_of("ltx2"), worn).applied():
        assert _largest_error("ltx2", both, 1.0) < 1e-6


def test_an_expert_of_two_can_be_named(tmp_path: Path) -> None:
    made = make(Make("wan", "comfy"))
    source = Source(made.save(tmp_path / "low.safetensors"), "low", parts=("transformer_2",))
    loaded = load(source, base_of("wan"), parts_of("wan"), Seat(CPU, torch.float32))
    assert {path.partition(".")[0] for path in loaded.changes} == {"transformer_2"}


def test_a_file_for_one_expert_in_diffusers_names_can_go_to_the_other(tmp_path: Path) -> None:
    made = make(Make("wan", "peft"))
    made.tensors = {key: tensor for key, tensor in made.tensors.items() if not key.startswith("transformer_2.")}
    source = Source(made.save(tmp_path / "low.safetensors"), "low", parts=("transformer_2",))
    loaded = load(source, base_of("wan"), parts_of("wan"), Seat(CPU, torch.float32))
    assert {path.partition(".")[0] for path in loaded.changes} == {"transformer_2"}


def test_wan_differences_of_norms_and_biases_are_applied_and_undone(tmp_path: Path) -> None:
    what = Make("wan", "comfy, down and up")
    made = make(what)
    shapes = {
        "blocks.0.norm3.diff": ("blocks.0.norm2.weight", 32),
        "blocks.0.norm3.diff_b": ("blocks.0.norm2.bias", 32),
        "blocks.1.self_attn.norm_k.diff": ("blocks.1.attn1.norm_k.weight", 32),
        "blocks.1.cross_attn.q.diff_b": ("blocks.1.attn2.to_q.bias", 32),
        "blocks.1.cross_attn.norm_k_img.diff": ("blocks.1.attn2.norm_added_k.weight", 32),
        "head.head.diff_b": ("proj_out.bias", 16),
    }
    before = {}
    for name, (path, size) in shapes.items():
        made.tensors[f"diffusion_model.{name}"] = torch.randn(size, generator=torch.Generator().manual_seed(3))
        layer, _, key = path.rpartition(".")
        before[path] = getattr(layer_at(parts_of("wan"), f"transformer.{layer}"), key).clone()
    loaded = _loaded(what, made, tmp_path)
    with Unfused(parts_of("wan"), [(loaded, 0.5)]).applied():
        for name, (path, _) in shapes.items():
            wanted = before[path] + 0.5 * made.tensors[f"diffusion_model.{name}"]
            assert torch.equal(dict(parts_of("wan")["transformer"].named_parameters())[path], wanted)
    for path, kept in before.items():
        assert torch.equal(dict(parts_of("wan")["transformer"].named_parameters())[path], kept)
