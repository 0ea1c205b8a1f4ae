"""The run store: what every store of runs must do, whatever it keeps them in."""

from __future__ import annotations

from typing import Any, Protocol

from serve_app.runs.model import Beat, Event, Page, Run, RunRequest, RunState
from serve_app.runs.sweep_store import SweepStore
from serve_app.runs.tally import Figures

ABANDONED = "abandoned"
"""The error code of a run that was given up because its runners kept dying over it."""

Events = list[Event]
Recalled = dict[tuple[int, str], dict[str, Any]]
"""(attempt, node) -> the value that the step gave."""


class RunStore(Protocol):
    """Keeps runs, their events and their steps' results. Safe for many threads and processes; deletes nothing.

    Everything is durable when its method returns. Every method raises Unavailable when the storage cannot be reached.

    A runner holds a run by a lease: it claims, beats more often than the lease lasts, and finishes or releases.
    ``owner`` names one claimant and must be a new name for every claim, so that a claimant which slept through its
    lease is never mistaken for its successor. Leases are read from the clocks of the machines that share a store: keep
    a lease well above the difference between those clocks (a lease of 15 s and NTP will do).
    """

    sweeps: SweepStore
    """The sweeps whose cells are runs of this store."""

    def add(self, request: RunRequest, max_queued: int) -> tuple[Run, bool]:
        """Record a run and return it with True; with False when the same request was recorded under this id before.

        Raises Conflict when the id stands for another request, Busy when ``max_queued`` runs wait already, and
        InvalidInput for an id, a pipeline name or inputs that cannot be recorded.
        """
        ...

    def get(self, run_id: str) -> Run:
        """Return a run; raise Unknown naming ``run``."""
        ...

    def list(
        self, limit: int, cursor: str | None = None, state: RunState | None = None, pipeline: str | None = None
    ) -> Page:
        """Return up to ``limit`` (1..500) runs, newest first, that are in ``state`` and of ``pipeline`` (None: any).

        ``cursor`` is the last page's ``next_cursor``: runs added in between neither repeat nor hide a run.
        Raises InvalidInput naming ``limit``, ``cursor`` or ``pipeline``.
        """
        ...

    def claim(self, owner: str, lease_s: float, max_claims: int) -> Run | None:
        """Take up a run for ``lease_s`` seconds, or return None when there is nothing to do.

        Runs whose lease has expired go first (their work is partly done), then the oldest queued one. Two claimants
        never get the same lease. A run that was claimed ``max_claims`` times in a row without a new result
        (`remember`) is not handed out again: it ends as failed with the code ``abandoned``. A run whose runner died
        after somebody cancelled it ends as cancelled.
        """
        ...

    def beat(self, run_id: str, owner: str, lease_s: float) -> Beat:
        """Prolong the lease to ``lease_s`` seconds from now and return what the runner must know."""
        ...

    def release(self, run_id: str, owner: str, is_fault: bool = False) -> bool:
        """Put the run back at its place in the queue at once; False when the lease was lost.

        ``is_fault``: the claim failed (a replica died) and counts towards ``max_claims``; a shutdown does not count.
        A run that was cancelled meanwhile ends as cancelled instead.
        """
        ...

    def finish(
        self, run_id: str, owner: str, state: RunState, report: dict[str, Any] | None, error: dict[str, Any] | None
    ) -> bool:
        """End the run in the final ``state`` together with its last event; False when the lease was lost.

        The event's kind is the state, its data is ``{"error": error}``, or empty without one.
        Raises ValueError for a state that is not final, and for what JSON cannot say.
        """
        ...

    def cancel(self, run_id: str) -> Run:
        """Cancel a run and return it: at once when nobody works on it, at its runner's next beat otherwise.

        A run that has ended is returned unchanged. Raises Unknown naming ``run``.
        """
        ...

    def append(self, run_id: str, kind: str, data: dict[str, Any]) -> int:
        """Record an event and return its number, one more than the event before, from 1.

        Raises Unknown naming ``run``, and Conflict when the run has ended: its final event stays the last.
        """
        ...

    def events(self, run_id: str, after: int = 0, limit: int = 500) -> Events:
        """Return up to ``limit`` events with a number above ``after``, in order; raise Unknown naming ``run``."""
        ...

    def remember(self, run_id: str, attempt: int, node: str, value: dict[str, Any], is_progress: bool = True) -> None:
        """Record what a step gave, so that a resumed run does not compute it again. The first value stays.

        A new value is progress (see `claim`), unless it tells of a step that came to nothing. Raises Unknown naming
        ``run``, and Conflict when the run has ended.
        """
        ...

    def recall(self, run_id: str) -> Recalled:
        """Return everything that was remembered of a run; raise Unknown naming ``run``."""
        ...

    def counts(self) -> dict[RunState, int]:
        """Return how many runs are in each state; every state is there."""
        ...

    def figures(self) -> Figures:
        """Return the counters of all ended runs, and what has not ended; ``runners`` is left at 0."""
        ...

    def heartbeat(self, owner: str, kind: str) -> None:
        """Record that ``owner``, a process of this ``kind``, is alive now."""
        ...

    def alive(self, kind: str, within_s: float) -> int:
        """Return how many processes of ``kind`` have given a heartbeat in the last ``within_s`` seconds."""
        ...

    def close(self) -> None:
        """Let go of the storage. The store must not be used afterwards."""
        ...
