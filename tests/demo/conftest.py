"""The demo, run once for the session, exactly as `make demo` runs it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.demo.newcomer import GREENLIGHT, is_listening, watched


@dataclass(frozen=True)
class Demo:
    """What the demo left: its exit status, its words, its folder, and processes that should not be there."""

    status: int
    said: str
    out: Path
    log: Path
    left: list[str]
    is_listening: bool

    @property
    def folder(self) -> Path:
        """The one folder that it made."""
        (folder,) = self.out.iterdir()
        return folder

    @property
    def report(self) -> dict[str, Any]:
        """Its report."""
        document: dict[str, Any] = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        return document


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder waits for Ray and for a run."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.serve)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Return an empty directory to work in."""
    with tempfile.TemporaryDirectory(prefix="greenlight-demo-") as made:
        yield Path(made)


@pytest.fixture(scope="session")
def demo(place: Path) -> Demo:
    """Run the demo to its end."""
    out, log, words = place / "out", place / "logs" / "demo.log", place / "stdout"
    command = [GREENLIGHT, "demo", "--out", str(out), "--log", str(log)]
    with words.open("wb") as stdout, watched(command, place, stdout.fileno()) as watch:
        status = watch.wait()
        left = watch.left()
    said = words.read_text(encoding="utf-8")
    assert status == 0, f"{said}\n{log.read_text(encoding='utf-8')}"
    return Demo(status, said, out, log, left, is_listening())
