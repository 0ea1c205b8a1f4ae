"""A real, small context for stage tests: what a stage says is written down, and its files land in a directory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_app.artifacts.local import LocalArtifacts
from serve_app.core.artifact import ArtifactStore
from serve_app.core.errors import Cancelled


@dataclass
class DeskContext:
    """A Context on the CPU. ``root`` is a test's ``tmp_path``; ``artifacts`` are a directory in it, or ``store``.

    ``steps`` are the (done, of) pairs, ``notes`` and ``warnings`` what the stage said. With ``cancel_after`` = n, the
    call of ``progress`` number n and every later call (``check`` too) raise Cancelled.
    """

    root: Path
    cancel_after: int | None = None
    device: str = "cpu"
    threads: int = 1
    store: ArtifactStore | None = None
    steps: list[tuple[int, int]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    charges: list[tuple[float | None, str]] = field(default_factory=list)
    artifacts: ArtifactStore = field(init=False)
    scratch: Path = field(init=False)

    def __post_init__(self) -> None:
        self.artifacts = self.store or LocalArtifacts(self.root / "artifacts")
        self.scratch = self.root / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)

    def progress(self, done: int, of: int) -> None:
        """Write the step down, then raise Cancelled if it is time."""
        self.steps.append((done, of))
        self.check()

    def check(self) -> None:
        """Raise Cancelled once ``cancel_after`` steps were reported."""
        if self.cancel_after is not None and len(self.steps) >= self.cancel_after:
            raise Cancelled

    def note(self, name: str, value: Any) -> None:
        """Write a fact down."""
        self.notes[name] = value

    def warn(self, message: str) -> None:
        """Write a warning down."""
        self.warnings.append(message)

    def charge(self, usd: float | None, what: str) -> None:
        """Write a price down."""
        self.charges.append((usd, what))

    def clear(self) -> None:
        """Empty the desk between two calls: files in scratch too."""
        self.steps.clear()
        self.notes.clear()
        self.warnings.clear()
        self.charges.clear()
        shutil.rmtree(self.scratch)
        self.scratch.mkdir()
