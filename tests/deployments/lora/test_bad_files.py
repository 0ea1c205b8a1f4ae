"""Every file that cannot be applied exactly is refused, naming file, layer and reason."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from deployments.nets.lora.checks import Verified, verify
from deployments.nets.lora.families import FamilyName
from deployments.nets.lora.places import Base
from serve_app.core.errors import BadAdapter, Misconfigured
from tests.deployments.lora.bases import base_of
from tests.deployments.lora.files import Made, Make, make

LAYER = "transformer.transformer_blocks.1.attn.to_k"
DOWN, UP = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"


def _verify(made: Made, directory: Path, family: FamilyName = "flux", **options: Any) -> Verified:
    path = made.save(directory / "style.safetensors")
    return verify(path, path.name, base_of(family), **options)


def _refused(made: Made, directory: Path, family: FamilyName = "flux") -> BadAdapter:
    with pytest.raises(BadAdapter) as caught:
        _verify(made, directory, family)
    assert caught.value.file == "style.safetensors"
    assert caught.value.status == 422
    return caught.value


def _without(*keys: str) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        for key in keys:
            del made.tensors[key]

    return change


def _set(key: str, tensor: torch.Tensor) -> Callable[[Made], None]:
    return lambda made: made.tensors.update({key: tensor})


def _poison(key: str, value: float) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        made.tensors[key][0, 0] = value

    return change


@pytest.mark.parametrize(
    ("change", "layer", "reason"),
    [
        (_without(DOWN), LAYER, "no lora_A"),
        (_without(UP), LAYER, "no lora_B"),
        (_set(DOWN, torch.ones(4, 32)), LAYER, "ranks differ: 4"),
        (_set(DOWN, torch.ones(3, 31)), LAYER, "takes 31 inputs"),
        (_set(UP, torch.ones(33, 3)), LAYER, "gives 33 outputs"),
        (_set(DOWN, torch.ones(3, 32, 1, 1)), LAYER, "not two matrices"),
        (_set(DOWN, torch.ones(0, 32)), LAYER, "ranks differ: 0"),
        (_set(DOWN, torch.ones(3, 32, dtype=torch.int64)), DOWN, "int64"),
        (_poison(DOWN, float("nan")), DOWN, "not a finite number"),
        (_poison(UP, float("inf")), UP, "not a finite number"),
        (_set(UP, torch.zeros(32, 3)), LAYER, "all zeros"),
        (_set(f"{LAYER}.alpha", torch.tensor(0.0)), LAYER, "all zeros"),
        (_set(f"{LAYER}.alpha", torch.tensor(float("nan"))), f"{LAYER}.alpha", "not a finite number"),
        (_set(f"{LAYER}.alpha", torch.ones(3)), f"{LAYER}.alpha", "one number"),
        (_set("transformer.norm_out.alpha", torch.tensor(3.0)), "transformer.norm_out", "no place"),
        (_set("transformer.x_embedder.diff_b", torch.ones(31)), "transformer.x_embedder.diff_b", r"\(31,\) is not"),
        (_set(f"{LAYER}.lora_magnitude_vector", torch.ones(32)), f"{LAYER}.lora_magnitude_vector", "DoRA"),
        (_set(f"{LAYER}.dora_scale", torch.ones(32, 1)), f"{LAYER}.dora_scale", "DoRA"),
        (_set(f"{LAYER}.lokr_w1", torch.ones(2, 2)), f"{LAYER}.lokr_w1", "LoKr"),
        (_set(f"{LAYER}.hada_w1_a", torch.ones(2, 2)), f"{LAYER}.hada_w1_a", "LoHa"),
        (_set(f"{LAYER}.scale_weight", torch.ones(1)), f"{LAYER}.scale_weight", "scaled FP8"),
        (_set(f"{LAYER}.surprise", torch.ones(1)), f"{LAYER}.surprise", "nobody knows"),
        (_set("lora_te1_text_model_x.lora_down.weight", torch.ones(3, 4)), "lora_te1_text_model_x", "text encoder"),
        (_set("transformer.layer_99.lora_A.weight", torch.ones(3, 4)), "transformer.layer_99", "no such layer"),
        (_set(f"{LAYER}.lora_down.weight", torch.ones(3, 32)), LAYER, "one and the same"),
    ],
)
def test_it_is_refused_with_its_layer_and_its_reason(
    change: Callable[[Made], None], layer: str, reason: str, tmp_path: Path
) -> None:
    made = make(Make("flux"))
    change(made)
    error = _refused(made, tmp_path)
    assert error.layer == layer
    with pytest.raises(BadAdapter, match=reason):
        raise error


def test_a_layer_that_is_reached_by_two_names_is_refused(tmp_path: Path) -> None:
    made = make(Make("flux"))
    made.tensors |= make(Make("flux", "comfy", only="transformer.transformer_blocks.1.attn")).tensors
    assert "changed twice" in _refused(made, tmp_path).reason


def test_an_adapter_of_another_family_is_told_by_name(tmp_path: Path) -> None:
    error = _refused(make(Make("wan", "comfy")), tmp_path)
    assert error.layer is None
    assert error.reason.endswith("has a place in Flux.1; it looks made for Wan")


@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_an_adapter_of_a_smaller_sister_with_the_same_names_is_refused(layout: str, tmp_path: Path) -> None:
    made = make(Make("ltx-video", layout, only="attn"))
    assert "inputs" in _refused(made, tmp_path, "ltx2").reason


def test_a_file_that_fits_in_part_is_taken_only_where_that_is_allowed(tmp_path: Path) -> None:
    made = make(Make("flux"))
    made.tensors["transformer.layer_99.lora_A.weight"] = torch.ones(3, 4)
    made.tensors["transformer.layer_99.lora_B.weight"] = torch.ones(4, 3)
    made.tensors[UP].zero_()
    found = _verify(made, tmp_path, is_partial=True)
    assert found.match.strangers == ("transformer.layer_99",)
    assert found.idle == (LAYER,)
    assert found.working == made.pairs - 1


def test_what_matches_nothing_is_refused_even_where_parts_are_allowed(tmp_path: Path) -> None:
    with pytest.raises(BadAdapter, match="none of its"):
        _verify(make(Make("wan", "comfy")), tmp_path, is_partial=True)


def test_all_zeros_are_refused_even_where_parts_are_allowed(tmp_path: Path) -> None:
    made = make(Make("flux"))
    for tensor in made.tensors.values():
        tensor.zero_()
    with pytest.raises(BadAdapter, match="all zeros"):
        _verify(made, tmp_path, is_partial=True)


def test_a_convolution_takes_no_pair(tmp_path: Path) -> None:
    made = Made({"patch_embedding.lora_A.weight": torch.ones(2, 4), "patch_embedding.lora_B.weight": torch.ones(32, 2)})
    assert "not a linear layer" in _refused(made, tmp_path, "wan").reason


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    for name, data in {"old": pickle.dumps({"a": 1}), "torch": b"PK\x03\x04" + b"0" * 100}.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(BadAdapter, match="pickle"):
            verify(path, path.name, base_of("flux"))


def test_fused_projections_of_the_base_would_make_it_useless_and_are_refused() -> None:
    from tests.deployments.lora.bases import _build

    parts = _build("flux")
    parts["transformer"].fuse_qkv_projections()  # type: ignore[operator]
    with pytest.raises(Misconfigured, match="fused projections"):
        Base("flux", parts)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps({"transformer.use_dora": True}), "DoRA"),
        (json.dumps({"transformer.lora_alpha": "8"}), "lora_alpha"),
        (json.dumps({"lora_alpha": 10**400}), "lora_alpha"),
        (json.dumps({"transformer.alpha_pattern": {"to_q": None}}), "alpha_pattern"),
    ],
)
def test_metadata_that_would_change_the_scale_are_understood_or_refused(
    config: str, reason: str, tmp_path: Path
) -> None:
    made = make(Make("flux"))
    made.metadata = {"lora_adapter_metadata": config}
    assert reason in _refused(made, tmp_path).reason


def test_an_alpha_in_a_tensor_and_another_in_the_metadata_are_refused(tmp_path: Path) -> None:
    made = make(Make("flux", alpha=2.0))
    made.metadata = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 4})}
    assert "scale" in _refused(made, tmp_path).reason


def test_a_mangled_file_never_ends_in_another_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    save_file(make(Make("flux", only="proj_out")).tensors, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 200)):
        path.write_bytes(whole[:length])
        with pytest.raises(BadAdapter):
            verify(path, path.name, base_of("flux"))
