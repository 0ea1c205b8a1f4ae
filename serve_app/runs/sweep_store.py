"""Where sweeps are kept: what every store of sweeps must do. It lives beside the runs, in the same database."""

from __future__ import annotations

from typing import Protocol

from serve_app.runs.model import RunRequest
from serve_app.runs.sweep_model import Cell, CellResult, Sweep, SweepPage, SweepRequest, SweepState

Cells = list[Cell]
Sweeps = list[Sweep]


class SweepStore(Protocol):
    """Keeps sweeps and their cells. Safe for many threads and processes; deletes nothing.

    Everything is durable when its method returns. Every method raises Unavailable when the storage cannot be reached.
    """

    def add(self, request: SweepRequest) -> tuple[Sweep, bool]:
        """Record a sweep with its cells and return it with True; with False when the same was recorded before.

        Raises Conflict when the id stands for another specification, InvalidInput for an id that cannot be one.
        """
        ...

    def get(self, sweep_id: str) -> Sweep:
        """Return a sweep; raise Unknown naming ``sweep``."""
        ...

    def list(self, limit: int, cursor: str | None = None) -> SweepPage:
        """Return up to ``limit`` (1..500) sweeps, newest first; raise InvalidInput naming ``limit`` or ``cursor``."""
        ...

    def unended(self) -> Sweeps:
        """Return every sweep that has not ended, oldest first."""
        ...

    def cells(self, sweep_id: str) -> Cells:
        """Return the cells in order, each with its run's state; raise Unknown naming ``sweep``."""
        ...

    def run_of(self, sweep_id: str, position: int) -> RunRequest:
        """Return the run that a cell asks for."""
        ...

    def record(self, sweep_id: str, position: int, result: CellResult) -> None:
        """Keep what became of a cell. The first result stays."""
        ...

    def finish(self, sweep_id: str, state: SweepState) -> None:
        """End a sweep in the final ``state``; one that has ended stays as it is."""
        ...

    def cancel(self, sweep_id: str) -> Sweep:
        """Ask a sweep to stop and return it; one that has ended is returned unchanged. Raises Unknown."""
        ...
