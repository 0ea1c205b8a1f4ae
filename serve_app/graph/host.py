"""Hosting one stage: load it once, call it one at a time, and wrap every call the same way in-process and on Serve.

Timing, notes, warnings, cancellation, opening uploads and translating errors happen here, so no stage has any of it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_app.core.adapter import WantedAdapters
from serve_app.core.artifact import Artifact, ArtifactStore
from serve_app.core.errors import Cancelled, GreenlightError, OutOfMemory, StageFailed
from serve_app.core.media import Image
from serve_app.core.picture import read_picture
from serve_app.core.stage import Strict
from serve_app.graph.plan import Deployment
from serve_app.graph.record import Called, Resources, StepRecord, describe_value

_POLL_S = 0.05


@dataclass
class Signal:
    """The line between one call and whoever waits for it: progress comes out, cancellation goes in. Thread-safe."""

    on_progress: Callable[[int, int], None] = lambda done, of: None
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Place:
    """Where a stage runs: device, CPU threads, what it holds, where files go, and how large an upload may be (px)."""

    device: str
    threads: int
    resources: Resources
    artifacts: ArtifactStore
    scratch: Path
    picture_px: int = 40_000_000


class Desk:
    """The `Context` of a hosted stage. Notes, warnings and the signal belong to the call at hand."""

    def __init__(self, place: Place) -> None:
        self.device, self.threads = place.device, place.threads
        self.artifacts, self.scratch = place.artifacts, place.scratch
        self.signal, self.notes, self.warnings = Signal(), dict[str, Any](), list[str]()

    def start(self, signal: Signal) -> None:
        """Clear the desk for a new call."""
        self.signal, self.notes, self.warnings = signal, {}, []

    def progress(self, done: int, of: int) -> None:
        """See `Context.progress`."""
        self.check()
        self.signal.on_progress(done, of)

    def check(self) -> None:
        """See `Context.check`."""
        if self.signal.cancelled.is_set():
            raise Cancelled

    def note(self, name: str, value: Any) -> None:
        """See `Context.note`."""
        self.notes[name] = value

    def warn(self, message: str) -> None:
        """See `Context.warn`."""
        if message not in self.warnings:
            self.warnings.append(message)


class Host:
    """One loaded stage. ``call`` may be used from many threads; the calls run one after another."""

    def __init__(self, deployment: Deployment, place: Place) -> None:
        self._deployment, self._place = deployment, place
        self._desk = Desk(place)
        self._turn = threading.Lock()
        place.scratch.mkdir(parents=True, exist_ok=True)
        self._stage = deployment.stage()
        self._guard(lambda: self._stage.load(deployment.weights, self._desk))

    def call(self, node: str, params: Strict, values: Mapping[str, Any], signal: Signal) -> Called:
        """Run the stage once. Raises GreenlightError; Cancelled also while waiting for its turn."""
        arrived = time.perf_counter()
        while not self._turn.acquire(timeout=_POLL_S):
            if signal.cancelled.is_set():
                raise Cancelled
        try:
            waited_s = time.perf_counter() - arrived
            self._desk.start(signal)
            called: Called = self._guard(lambda: self._record(node, params, values, waited_s))
            return called
        finally:
            self._desk.start(Signal())  # who was told of the progress is not held until the next call
            self._turn.release()

    def _record(self, node: str, params: Strict, values: Mapping[str, Any], waited_s: float) -> Called:
        started_s, began = time.time(), time.perf_counter()
        value = self._run(params, values)
        record = StepRecord(
            node=node,
            stage=self._deployment.contract.name,
            deployment=self._deployment.name,
            started_s=started_s,
            seconds=time.perf_counter() - began,
            waited_s=waited_s,
            resources=self._place.resources,
            params=params.model_dump(mode="json"),
            notes=self._desk.notes,
            warnings=tuple(self._desk.warnings),
            value=describe_value(value),
        )
        # NaN, or a foreign number type, would be found when the report is written, with the whole run's work done.
        json.dumps(record.as_json(), allow_nan=False)
        return Called(value, record)

    def _run(self, params: Strict, values: Mapping[str, Any]) -> Any:
        self._desk.check()
        value = self._stage.run(params, **{port: self._open(port, given) for port, given in values.items()})
        wanted = self._deployment.contract.output
        if not isinstance(value, wanted):
            raise TypeError(f"promised {wanted.__name__}, returned {type(value).__name__}")
        return value

    def _open(self, port: str, value: Any) -> Any:
        """An upload travels as its artifact and becomes a picture only here, where it is used; names travel as text."""
        kind = self._deployment.contract.ports[port].type
        if kind is WantedAdapters and not isinstance(value, WantedAdapters):
            return WantedAdapters.parse(value, port)
        if isinstance(value, Artifact) and kind is Image:
            data = self._place.artifacts.path_of(value.digest).read_bytes()
            return read_picture(data, max_px=self._place.picture_px, field=port)
        return value

    def _guard(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except GreenlightError:
            raise
        except MemoryError as error:
            raise OutOfMemory(self._deployment.name, self._place.device) from error
        except Exception as error:  # a stage is foreign code: whatever it raises must carry its name
            if type(error).__name__ == "OutOfMemoryError":  # torch's, which this floor must not import
                raise OutOfMemory(self._deployment.name, self._place.device) from error
            raise StageFailed(self._deployment.contract.name, type(error).__name__, str(error)) from error
