"""LTX-2 in its three versions as entries of one configuration."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from deployments.generate.ltx2 import Ltx2
from serve_app.config import AppConfig, deployments_of

_VERSIONS = {"ltx2-2-0": "2.0", "ltx2-2-3": "2.3", "ltx2-2-5": "2.5"}


def _pipeline(use: str, directory: Path) -> str:
    """Write the shipped pipeline with another deployment for its draft, and return the path."""
    shipped = resources.files("serve_app").joinpath("pipelines/ltx2-fidelity-1080p.yaml").read_text("utf-8")
    own = shipped.replace("name: ltx2-fidelity-1080p", f"name: {use}-1080p").replace("generate.ltx2", use)
    (directory / f"{use}.yaml").write_text(own, "utf-8")
    return str(directory / f"{use}.yaml")


def test_three_versions_are_three_deployments_of_one_stage(tmp_path: Path) -> None:
    stages = {
        use: {"stage": "generate.ltx2", "weights": {"model": f"/models/{use}", "version": version}}
        for use, version in _VERSIONS.items()
    }
    config = AppConfig.model_validate({"pipelines": [_pipeline(use, tmp_path) for use in _VERSIONS], "stages": stages})
    found = {name: one for name, one in deployments_of(config).items() if name in _VERSIONS}
    assert {name: one.weights.model_dump()["version"] for name, one in found.items()} == _VERSIONS
    assert {one.stage for one in found.values()} == {Ltx2}
