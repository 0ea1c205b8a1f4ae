"""Every file that we ship passes our own strict check."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.__main__ import main
from serve_app.commands.profile import PROFILES, application_in, profile_for
from serve_app.graph.spec import SHIPPED

ROOT = Path(__file__).parents[2]
FILES = [*sorted(PROFILES.glob("*.yaml")), *sorted(SHIPPED.glob("*.yaml")), ROOT / "cluster.yaml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_has_no_mistake(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path)]) == 0, capsys.readouterr().out


def test_the_demo_fits_two_cpus() -> None:
    options = application_in(PROFILES / "demo.yaml").options
    assert sum(each["num_cpus"] for each in options.values()) <= 2.0


@pytest.mark.parametrize("profile", ["gpu.yaml", "desk.yaml"])
def test_two_generators_never_fit_on_one_gpu_and_one_leaves_room_for_the_rest(profile: str) -> None:
    options = application_in(PROFILES / profile).options
    shares = {name: each.get("num_gpus", 0) for name, each in options.items()}
    assert shares["generate.ltx2"] > 0.5
    assert sum(shares.values()) <= 1.0


@pytest.mark.parametrize("profile", ["images.yaml", "videos.yaml"])
def test_families_take_turns_on_a_card_that_none_shares(profile: str) -> None:
    options = application_in(PROFILES / profile).options
    shares = [each["num_gpus"] for name, each in options.items() if name.startswith("generate.")]
    assert len(shares) == 3
    assert all(0.5 < share <= 1 for share in shares)


def test_a_local_run_finds_the_profile_that_serves_its_pipeline() -> None:
    assert profile_for("animatic-fidelity").name == "demo.yaml"
    assert profile_for("ltx2-fidelity-1080p").name == "desk.yaml"
