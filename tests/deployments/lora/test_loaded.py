"""Loading what was matched: memory told beforehand to the byte, and bases that cannot take a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.nets.lora.families import FamilyName
from deployments.nets.lora.loaded import Seat, Source, estimate_bytes, load
from deployments.nets.lora.places import Base
from serve_app.core.errors import BadAdapter
from tests.deployments.lora.bases import _build, base_of, parts_of
from tests.deployments.lora.files import Made, Make, make

CPU = torch.device("cpu")


def saved(made: Made, directory: Path) -> Source:
    return Source(made.save(directory / "style.safetensors"), "style.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("seat", [Seat(CPU, torch.bfloat16), Seat(CPU, None)], ids=["unfused", "baked"])
@pytest.mark.parametrize(("family", "layout"), [("ltx2", "peft"), ("flux", "kohya"), ("wan", "comfy")])
def test_what_is_estimated_is_what_is_taken_at_the_most(
    family: FamilyName, layout: str, seat: Seat, dtype: torch.dtype, tmp_path: Path
) -> None:
    source = saved(make(Make(family, layout, dtype=dtype)), tmp_path)
    estimated = estimate_bytes(source, base_of(family), parts_of(family), seat)
    taken = load(source, base_of(family), parts_of(family), seat).size_bytes
    assert taken <= estimated <= 1.5 * taken


def test_parts_of_a_base_in_fp32_are_counted_as_such(tmp_path: Path) -> None:
    parts = {name: part.to(torch.bfloat16) for name, part in _build("flux").items()}
    parts["transformer"].get_submodule("proj_out").float()
    base = Base("flux", parts)
    source = saved(make(Make("flux", dtype=torch.bfloat16, only="proj_out")), tmp_path)
    seat = Seat(CPU, torch.bfloat16)
    assert load(source, base, parts, seat).size_bytes <= estimate_bytes(source, base, parts, seat)


@pytest.mark.parametrize("key", ["diff", "diff_b"])
def test_a_whole_difference_of_what_is_stored_in_fp8_is_the_files_fault_and_named(key: str, tmp_path: Path) -> None:
    parts = _build("flux")
    layer = parts["transformer"].get_submodule("x_embedder")
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(torch.float8_e4m3fn)
    base = Base("flux", parts)
    shapes: dict[str, Any] = {"diff": layer.weight.shape, "diff_b": layer.bias.shape}
    made = Made({f"transformer.x_embedder.{key}": torch.ones(shapes[key])})
    with pytest.raises(BadAdapter, match=r"style\.safetensors: transformer\.x_embedder: .* stores as float8_e4m3fn"):
        load(saved(made, tmp_path), base, parts, Seat(CPU, torch.float32))


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_packed_layer_of_the_base_is_refused_by_name(tmp_path: Path, has_bias: bool) -> None:
    parts = _build("flux")
    layer = parts["transformer"].get_submodule("x_embedder")
    del layer._parameters["weight"]
    if not has_bias:
        layer.register_parameter("bias", None)
    made = make(Make("flux", only="x_embedder"))
    with pytest.raises(BadAdapter, match=r"transformer\.x_embedder is packed in this base"):
        load(saved(made, tmp_path), Base("flux", parts), parts, Seat(CPU, torch.float32))
