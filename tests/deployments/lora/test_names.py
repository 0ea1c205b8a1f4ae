"""The tables of names against diffusers' own conversions of the authors' checkpoints."""

from __future__ import annotations

import pytest
import torch
from diffusers.loaders import lora_conversion_utils, single_file_utils

from deployments.nets.lora.families import FAMILIES, FamilyName
from deployments.nets.lora.places import flatten, original_name
from tests.deployments.lora.bases import FAMILY_NAMES, base_of, linear_layers


def _originals(family: FamilyName) -> dict[str, list[str]]:
    """Return a name in the authors' code -> the transformer's layers behind it, in their order."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for path in linear_layers(family):
        part, _, rest = path.partition(".")
        if part == "transformer" and (found := original_name(FAMILIES[family].renamed, rest)):
            groups.setdefault(found[1], []).append((found[0], rest))
    return {name: [path for _, path in sorted(group)] for name, group in groups.items()}


def _ltx2(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert as diffusers does for adapters, whose table knows LTX-2.3 as well; that for checkpoints does not."""
    prefixed = {f"diffusion_model.{key}": tensor for key, tensor in state.items()}
    found = lora_conversion_utils._convert_non_diffusers_ltx2_lora_to_diffusers(prefixed)
    return {key.removeprefix("transformer."): tensor for key, tensor in found.items()}


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_no_two_layers_differ_by_a_dot_alone(family: FamilyName) -> None:
    for part in base_of(family).parts:
        names = [path for path in linear_layers(family) if path.startswith(f"{part}.")]
        assert len({flatten(name) for name in names}) == len(names)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_no_original_name_is_the_name_of_another_layer(family: FamilyName) -> None:
    ours = {flatten(path.partition(".")[2]): path for path in linear_layers(family)}
    for original, paths in _originals(family).items():
        assert flatten(original) not in ours or paths == [ours[flatten(original)].partition(".")[2]]


@pytest.mark.parametrize(
    ("family", "convert"),
    [
        ("ltx2", _ltx2),
        ("ltx-video", single_file_utils.convert_ltx_transformer_checkpoint_to_diffusers),
        ("wan", single_file_utils.convert_wan_transformer_to_diffusers),
        ("z-image", single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers),
    ],
)
def test_original_names_are_those_of_the_authors_checkpoints(family: FamilyName, convert: object) -> None:
    assert callable(convert)
    originals = _originals(family)
    assert originals
    for original, paths in originals.items():
        rows = torch.arange(float(len(paths)))[:, None]
        found = convert({f"{original}.weight": rows})
        assert {name: float(row) for name, row in found.items()} == {
            f"{path}.weight": float(index) for index, path in enumerate(paths)
        }


def test_the_names_of_flux_are_those_that_diffusers_takes_from_kohya() -> None:
    for original, paths in _originals("flux").items():
        rank, sizes = 3, [3072, 3072, 3072, 12288] if "linear1" in original else [2] * len(paths)
        down, up = torch.ones(rank, 5), torch.arange(float(sum(sizes)))[:, None].expand(-1, rank).clone()
        key = f"lora_unet_{flatten(original)}"
        state = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        found = lora_conversion_utils._convert_kohya_flux_lora_to_diffusers(state)
        ups = {name.removeprefix("transformer."): tensor for name, tensor in found.items() if "lora_B" in name}
        assert set(ups) == {f"{path}.lora_B.weight" for path in paths}
        first = 0
        for path, size in zip(paths, sizes, strict=True):
            # The conversion swaps halves for the last modulation, as ours does when it reads (see `swapped`).
            wanted = first if path not in FAMILIES["flux"].swapped else size // 2
            assert float(ups[f"{path}.lora_B.weight"][0, 0]) == wanted
            first += size


def test_text_projections_of_ltx2_are_connectors() -> None:
    found = base_of("ltx2").find("text_embedding_projection.video_aggregate_embed", base_of("ltx2").parts)
    assert [slot.path for slot in found["connectors"].slots] == ["connectors.video_text_proj_in"]


def test_prefixes_may_stand_one_before_the_other() -> None:
    found = base_of("flux").find("base_model.model.transformer.proj_out", ("transformer",))
    assert [slot.path for slot in found["transformer"].slots] == ["transformer.proj_out"]


def test_a_name_of_prefixes_alone_is_nobodys() -> None:
    assert base_of("flux").find("transformer." * 40, ("transformer",)) == {}
