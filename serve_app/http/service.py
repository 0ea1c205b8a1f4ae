"""What the HTTP floor needs from the house: one protocol and the values that cross it, so that it needs no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serve_app.core.artifact import Artifact
from serve_app.runs.model import Event, Page, Run, RunState
from serve_app.runs.sweep import SweepSpec
from serve_app.runs.sweep_model import Cell, Sweep, SweepPage
from serve_app.runs.tally import Figures


@dataclass(frozen=True)
class Limits:
    """What a request may ask of the server before anything is decoded, and how patiently the server watches a run."""

    body_bytes: int = 64 << 20
    """A whole request body; room for two pictures of ``upload_bytes`` in base64, less a little."""
    upload_bytes: int = 25 << 20
    """One picture, decoded from base64 or taken from a file part."""
    text_bytes: int = 64 << 10
    """One text, UTF-8."""
    parts: int = 64
    """Parts of one multipart body."""
    json_depth: int = 16
    """Objects and arrays inside one another in a JSON body."""
    json_commas: int = 100_000
    """Commas in a JSON body: bounds the number of values before they are parsed, so before they cost memory."""
    wait_s: float = 60.0
    """The longest wait that `Prefer: wait` can ask for."""
    poll_s: float = 0.1
    """The pause before a run is looked at again; grows to ``slowest_poll_s`` while nothing happens."""
    slowest_poll_s: float = 1.0
    heartbeat_s: float = 15.0
    """Silence on an event stream after which a comment is sent, so that proxies keep the connection."""


@dataclass(frozen=True)
class Upload:
    """A picture as the caller sent it: ``data`` is still encoded (JPEG, PNG, ...), ``filename`` is not checked."""

    data: bytes
    filename: str | None


@dataclass(frozen=True)
class Address:
    """The facade's address that a run was asked for at, and the seed which that gives to those who name none."""

    path: str
    seed: int | None


@dataclass(frozen=True)
class Submission:
    """A run as asked for: ``inputs`` have their declared types (pictures are Uploads); ranges are not checked yet."""

    pipeline: str
    inputs: Mapping[str, Any]
    policy: Mapping[str, Any]
    address: Address | None = None
    """Where it was asked for, if not at /v1/runs."""


@dataclass(frozen=True)
class ListQuery:
    """Which runs to list: at most ``limit`` (1..100) after ``cursor`` (a Page's ``next_cursor``), perhaps only some."""

    limit: int = 20
    cursor: str | None = None
    state: RunState | None = None
    pipeline: str | None = None


Events = list[Event]
Cards = list[dict[str, Any]]


@dataclass(frozen=True)
class SweepDetail:
    """A sweep with all of its cells."""

    sweep: Sweep
    cells: tuple[Cell, ...]


class Sweeps(Protocol):
    """The sweeps of the house: grids of runs that the runners work through by themselves."""

    async def submit(self, sweep_id: str | None, spec: SweepSpec) -> tuple[SweepDetail, bool]:
        """Record a sweep durably and return it, and whether it is new; None as ``sweep_id`` has one made.

        Every cell is checked first: a mistake in one refuses the sweep. Inputs that are Uploads are stored. Raises
        BadRequest's family, and Conflict when the id stands for another specification.
        """
        ...

    async def get(self, sweep_id: str) -> SweepDetail:
        """Return the sweep; raise Unknown."""
        ...

    async def list(self, limit: int, cursor: str | None) -> SweepPage:
        """Return one page of sweeps, newest first; raise InvalidInput for a cursor that is not one."""
        ...

    async def cancel(self, sweep_id: str) -> SweepDetail:
        """Ask the sweep to stop and return it; raise Unknown, or Conflict when it had ended otherwise."""
        ...


class Service(Protocol):
    """The house as the HTTP floor sees it. Any replica's service answers for any run."""

    limits: Limits

    @property
    def sweeps(self) -> Sweeps:
        """The sweeps of this house."""
        ...

    def pipelines(self) -> list[dict[str, Any]]:
        """Return what is served: name, description, inputs, outputs, policy, steps and diagram (mermaid) of each.

        ``inputs`` is {name: {type, required, default, minimum, maximum, description, aliases}}.
        """
        ...

    async def submit(self, run_id: str | None, submission: Submission) -> tuple[Run, bool]:
        """Record a run durably and return it, and whether it is new; None as ``run_id`` has one made.

        The same id with the same submission returns the run that exists. Raises BadRequest's family, Conflict, Busy.
        """
        ...

    async def get(self, run_id: str) -> Run:
        """Return the run; raise Unknown."""
        ...

    async def list(self, query: ListQuery) -> Page:
        """Return one page of runs, newest first; raise InvalidInput for a cursor that is not one."""
        ...

    async def cancel(self, run_id: str) -> Run:
        """Ask the run to stop and return it; raise Unknown, or Conflict when it has ended."""
        ...

    async def events(self, run_id: str, after: int, limit: int) -> Events:
        """Return up to ``limit`` events whose sequence number is above ``after``, in order; raise Unknown."""
        ...

    async def artifact(self, run_id: str, name: str) -> tuple[Artifact, Path]:
        """Return the run's output ``name`` and a local file that holds its bytes; raise Unknown."""
        ...

    async def adapters(self) -> Cards:
        """Return every adapter that a request may name, as `AdapterCard.as_json` with its ``deployment``."""
        ...

    async def models(self) -> Cards:
        """Return every deployed model, as `http.models.ModelView` shows it."""
        ...

    async def figures(self) -> Figures:
        """Return the metrics that the store keeps, and what has not ended."""
        ...

    async def health(self) -> dict[str, Any]:
        """Return readiness facts as JSON values, of which ``is_ready`` (bool) decides."""
        ...
