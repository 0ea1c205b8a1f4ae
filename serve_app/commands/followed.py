"""What `greenlight run` needs of whoever carries out a run: a server far away, or this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serve_app.runs.model import RunState


@dataclass(frozen=True)
class Happening:
    """One event of a run: its kind and its data."""

    kind: str
    data: dict[str, Any]

    @property
    def is_final(self) -> bool:
        """Whether it is the run's last."""
        return self.kind in {state.value for state in RunState if state.is_final}


class Followed(Protocol):
    """Takes a run, tells what happens to it, and hands out what it made."""

    def submit(self, pipeline: str, inputs: Mapping[str, Any], policy: Mapping[str, Any]) -> str:
        """Take a run and return its id. Inputs that are a Path are pictures."""
        ...

    def follow(self, run_id: str) -> Iterator[Happening]:
        """Yield what happens to the run until it has ended."""
        ...

    def cancel(self, run_id: str) -> None:
        """Ask the run to stop."""
        ...

    def report(self, run_id: str) -> dict[str, Any]:
        """Return the report of a run that has ended; raise Unknown when it was over before anybody took it up."""
        ...

    def fetch(self, run_id: str, name: str, target: Path) -> None:
        """Write an artifact of the run to ``target``."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
