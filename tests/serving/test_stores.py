"""From the configuration to the things that it names."""

from pathlib import Path

import pytest

from serve_app.config import AppConfig
from serve_app.serving.stores import at_home


def test_every_path_is_absolute_before_a_replica_elsewhere_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = AppConfig(pipelines=("mine.yaml", "animatic-fidelity"), artifacts_directory=Path("files"))
    moved = at_home(config)
    assert moved.pipelines == (str(tmp_path / "mine.yaml"), "animatic-fidelity")
    assert (moved.directory, moved.artifacts_directory) == (tmp_path / ".greenlight", tmp_path / "files")


def test_what_is_not_given_stays_so(tmp_path: Path) -> None:
    assert at_home(AppConfig(pipelines=("a",), directory=tmp_path)).artifacts_directory is None
