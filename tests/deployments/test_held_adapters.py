"""Adapters on weights that are stored narrow, or come and go: applied as on any other, and gone after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.nets import holding
from deployments.nets.held import Options
from tests.deployments import tiny_flux
from tests.deployments.dressed import dress


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux.build(tmp_path_factory.mktemp("flux") / "tiny")


def test_an_adapter_on_weights_in_fp8_does_what_it_does_on_wide_ones(weights: Path, tmp_path: Path) -> None:
    wide, narrow = dress("flux", weights, tmp_path / "wide"), dress("flux", weights, tmp_path / "fp8", storage="fp8")
    for one in (wide, narrow):
        one.put("style", "comfy", rank=8)
    base, worn = narrow.render(), narrow.render("style")
    assert narrow.desk.notes["adapters"][0]["applied"] == "unfused"
    assert np.array_equal(narrow.render(), base)
    effect = worn.astype(float) - base
    wanted = wide.render("style").astype(float) - wide.render()
    assert np.abs(effect).max() > 0
    assert np.corrcoef(effect.ravel(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("way", ["unfused", "baked"])
def test_an_adapter_on_blocks_that_come_and_go_makes_the_same_bits(weights: Path, tmp_path: Path, way: str) -> None:
    still, moved = (dress("flux", weights, tmp_path / name, adapters=way) for name in ("still", "moved"))
    holding.offload_groups(moved.stage._painter.from_text, Options(offload="group"), torch.device("cpu"))
    for one in (still, moved):
        one.put("style", "comfy", rank=8)
    for names in ("style", None, "style@0.3"):
        assert np.array_equal(moved.render(names), still.render(names))
