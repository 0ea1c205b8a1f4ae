"""Fixtures that stage tests share. Imports are inside them, so that tests without torch stay quick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deployments.loaded_ltx2 import LoadedLtx2, RawLtx2


@pytest.fixture(scope="session")
def tiny_ltx2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a diffusers directory with a tiny LTX-2.0. Read it only."""
    from tests.deployments.tiny_ltx2 import build

    return build(tmp_path_factory.mktemp("weights") / "tiny-ltx2")


@pytest.fixture(scope="session")
def _ltx2(tiny_ltx2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedLtx2:
    from tests.deployments.loaded_ltx2 import load

    return load(tiny_ltx2_dir, tmp_path_factory.mktemp("desk"))


@pytest.fixture
def ltx2(_ltx2: LoadedLtx2) -> Iterator[LoadedLtx2]:
    """Return the stage `generate.ltx2` with distilled tiny weights, and an empty desk."""
    _ltx2.clear()
    yield _ltx2
    _ltx2.clear()


@pytest.fixture(scope="session")
def tiny_upsampler_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a diffusers directory with a tiny latent upsampler for the tiny LTX-2. Read it only."""
    from tests.deployments.tiny_ltx2 import build_upsampler

    return build_upsampler(tmp_path_factory.mktemp("weights") / "tiny-upsampler")


@pytest.fixture(scope="session")
def _two_stage(tiny_ltx2_dir: Path, tiny_upsampler_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedLtx2:
    from tests.deployments.loaded_ltx2 import load

    return load(tiny_ltx2_dir, tmp_path_factory.mktemp("desk"), latent_upsampler=str(tiny_upsampler_dir))


@pytest.fixture
def two_stage(_two_stage: LoadedLtx2) -> Iterator[LoadedLtx2]:
    """Return the stage `generate.ltx2` with distilled tiny weights and a latent upsampler, and an empty desk."""
    _two_stage.clear()
    yield _two_stage
    _two_stage.clear()


@pytest.fixture(scope="session")
def raw_ltx2(tiny_ltx2_dir: Path) -> RawLtx2:
    """Return diffusers' own pipelines of the same weights, as their documentation loads them."""
    from tests.deployments.loaded_ltx2 import load_raw

    return load_raw(tiny_ltx2_dir)
