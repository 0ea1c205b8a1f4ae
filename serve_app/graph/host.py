"""Hosting one stage: load it once, call it one at a time, and wrap every call the same way in-process and on Serve.

Timing, notes, warnings, cancellation, opening uploads and translating errors happen here, so no stage has any of it.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from serve_app.core.adapter import WantedAdapters
from serve_app.core.artifact import Artifact, ArtifactStore
from serve_app.core.errors import Cancelled, GreenlightError, OutOfMemory, Rejected, StageFailed
from serve_app.core.footage import Bounds, read_clip
from serve_app.core.media import Clip, Image
from serve_app.core.picture import read_picture
from serve_app.core.stage import Contract, Strict
from serve_app.core.streaming import count_of
from serve_app.graph.errand import RUN, Errand, Pieces, Work
from serve_app.graph.origin import with_origin
from serve_app.graph.plan import Deployment
from serve_app.graph.record import DONE, NOTHING, Called, Charge, Resources, StepRecord

_POLL_S = 0.05


@dataclass
class Signal:
    """The line between one call and whoever waits for it: start, progress and charges come out, cancellation goes in.

    ``on_start`` hears what the stage holds, once its turn has come; ``on_chunk`` gets each chunk of a stream, with the
    number of frames in all, and returns when the next may come. Thread-safe.
    """

    on_progress: Callable[[int, int], None] = lambda done, of: None
    on_start: Callable[[Resources], None] = lambda held: None
    on_chunk: Callable[[int, int, Clip], None] = lambda index, frames, chunk: None
    on_charge: Callable[[Charge], None] = lambda charge: None
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Place:
    """Where a stage runs: device, CPU threads, what it holds, where files go, and how large an upload may be.

    ``picture_px``: a picture, or a frame; ``clip_bytes``: all frames of a clip, decoded.
    """

    device: str
    threads: int
    resources: Resources
    artifacts: ArtifactStore
    scratch: Path
    picture_px: int = 40_000_000
    clip_bytes: int = 2 << 30


class Desk:
    """The `Context` of a hosted stage. Notes, warnings and the signal belong to the call at hand."""

    def __init__(self, place: Place) -> None:
        self.device, self.threads = place.device, place.threads
        self.artifacts, self.scratch = place.artifacts, place.scratch
        self.start(Signal())

    def start(self, signal: Signal) -> None:
        """Clear the desk for a new call."""
        self.signal, self.notes, self.warnings = signal, dict[str, Any](), list[str]()
        self.charges: list[Charge] = []

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

    def charge(self, usd: float | None, what: str) -> None:
        """See `Context.charge`. Raises ValueError for what is no price."""
        if usd is not None and not (math.isfinite(usd) and usd >= 0):
            raise ValueError(f"{what} costs 0 USD or more, not {usd}")
        self.charges.append(Charge(usd, what))
        self.signal.on_charge(self.charges[-1])


class Host:
    """One loaded stage. ``call`` may be used from many threads; the calls run one after another."""

    def __init__(self, deployment: Deployment, place: Place) -> None:
        self._deployment, self._place = deployment, place
        self._desk = Desk(place)
        self._turn, self._preparing = threading.Lock(), threading.Lock()
        place.scratch.mkdir(parents=True, exist_ok=True)
        self._stage = deployment.stage()
        self._guard(lambda: self._stage.load(deployment.weights, self._desk))

    @property
    def contract(self) -> Contract:
        """What the stage declares."""
        return self._deployment.contract

    @property
    def stage(self) -> object:
        """The stage itself, loaded; to be looked at, not to be called."""
        return self._stage

    def call(
        self, node: str, params: Strict, values: Mapping[str, Any], signal: Signal, errand: Errand = RUN
    ) -> Called:
        """Carry out one errand of the stage. Raises GreenlightError; Cancelled also while waiting for its turn."""
        arrived = time.perf_counter()
        while not self._turn.acquire(timeout=_POLL_S):
            if signal.cancelled.is_set():
                raise Cancelled
        try:
            waited_s = time.perf_counter() - arrived
            self._desk.start(signal)
            called: Called = self._guard(lambda: self._record(node, params, values, waited_s, errand))
            return called
        finally:
            self._desk.start(Signal())  # who was told of the progress is not held until the next call
            self._turn.release()

    def prepare(self, params: Strict, values: Mapping[str, Any]) -> None:
        """Let the stage prepare, one preparation at a time, beside a call that may be going on.

        Raises GreenlightError.
        """
        with self._preparing:
            self._guard(lambda: self._stage.prepare(params, **self._opened(values)))

    def _record(self, node: str, params: Strict, values: Mapping[str, Any], waited_s: float, errand: Errand) -> Called:
        self._desk.signal.on_start(self._place.resources)
        started_s, began = time.time(), time.perf_counter()

        def record_of(value: dict[str, Any], ended: str) -> StepRecord:
            return StepRecord(
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
                value=value,
                charges=tuple(self._desk.charges),
                ended=ended,
                chunks=count_of(value["frames"], errand.chunk_frames) if "frames" in value and errand.is_stream else 0,
            )

        try:
            self._desk.check()
            stamp = partial(self._stamped, params, values)
            work = Work(self._stage, self._deployment.contract, params, self._opened(values), stamp)
            value, description = work.done(errand, self._emit)
        except Rejected as error:
            if self._deployment.contract.gates is None:  # it gave up its own attempt, and says what it saw
                error.record = record_of(NOTHING, Rejected.code).as_json()
            raise
        record = record_of(description, DONE)
        # NaN, or a foreign number type, would be found when the report is written, with the whole run's work done.
        json.dumps(record.as_json(), allow_nan=False)
        return Called(value, record)

    def _stamped(self, params: Strict, values: Mapping[str, Any], value: Any) -> Any:
        came = {port: given.items[0] if isinstance(given, Pieces) else given for port, given in values.items()}
        return with_origin(value, self._deployment.contract, params, came)

    def _emit(self, index: int, frames: int, chunk: Clip) -> None:
        self._desk.check()
        self._desk.signal.on_chunk(index, frames, chunk)

    def _opened(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {port: self._open(port, given) for port, given in values.items()}

    def _open(self, port: str, value: Any) -> Any:
        """An upload travels as its artifact and is opened here, where it is used; names of adapters travel as text."""
        kind = self._deployment.contract.ports[port].type
        if kind is WantedAdapters and not isinstance(value, WantedAdapters):
            return WantedAdapters.parse(value, port)
        if isinstance(value, Artifact) and kind is Image:
            data = self._place.artifacts.path_of(value.digest).read_bytes()
            return read_picture(data, max_px=self._place.picture_px, field=port)
        if isinstance(value, Artifact) and kind is Clip:
            data = self._place.artifacts.path_of(value.digest).read_bytes()
            return read_clip(data, Bounds(self._place.picture_px, self._place.clip_bytes), port)
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
