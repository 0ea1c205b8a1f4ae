"""Everything that Greenlight raises on purpose.

GreenlightError                 code, HTTP status, hint; picklable, so it crosses Ray actors intact
├── BadRequest                  400/422: the caller can mend it; names the field
│   ├── InvalidInput            a value that is out of range, of the wrong type or not legal for a model
│   ├── BadAdapter              an adapter's file that does not fit: file, layer, reason
│   ├── InvalidPicture          an upload that is truncated, too large, or not a picture at all
│   ├── InvalidClip             a video that is truncated, damaged, or none at all
│   ├── TooLarge                413: a body beyond the limit
│   └── Unknown                 404: a pipeline, run, stage or artifact that does not exist; offers the nearest
├── Conflict                    409: the same run id with another body, or a run that has already ended
├── Busy                        429: the queue is full; says when to try again
├── Misconfigured               500: a pipeline, profile or weights file that is wrong; found before any work
├── NotFetched                  502: a file that could not be had from the hub or an address: which, and why
├── StageError                  a stage said no while working
│   ├── Rejected                a gate turned a clip away, or a stage gave up: detector, frame, value
│   ├── OutOfMemory             names what did not fit
│   └── StageFailed             an unforeseen exception inside a stage, with its type and text
└── Interrupted                 not the run's fault
    ├── Cancelled               somebody asked for it
    ├── Unavailable             a replica died or was not there; the step may be tried again
    │   └── InputLost           the replica lives, but a value it was to work on is gone: its maker must run again
    └── DeadlineExceeded        the run's budget or deadline is spent

Every class hands its arguments to ``super().__init__`` and formats in ``__str__``: an exception that formats first
cannot be unpickled on the other side of an actor call.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any


class GreenlightError(Exception):
    """Root of the tree. ``code`` is stable and machine-readable, ``status`` HTTP's, ``hint`` says what to do."""

    code = "error"
    status = 500
    hint = ""

    @property
    def field(self) -> str | None:
        """The dotted name of the field at fault, if there is one."""
        return None


class BadRequest(GreenlightError):
    """Raised when the caller sent something that can never work: ``field`` (dotted path) and ``reason``."""

    code, status, hint = "bad_request", 400, "Correct the field and send the request again."

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self._field, self.reason = field, reason

    @property
    def field(self) -> str:
        """The dotted name of the field at fault."""
        return self._field

    def __str__(self) -> str:
        return f"{self._field}: {self.reason}"


class InvalidInput(BadRequest):
    """Raised when a value is out of range, of the wrong type, unknown, or not legal for the model that would get it."""

    code, status = "invalid_input", 422


class BadAdapter(BadRequest):
    """Raised when an adapter's ``file`` is broken or does not fit its base: at ``layer`` (None: all of it), why."""

    code, status, hint = "bad_adapter", 422, "Use an adapter that was made for this base, in whole safetensors."

    def __init__(self, file: str, layer: str | None, reason: str) -> None:
        GreenlightError.__init__(self, file, layer, reason)
        self._field, self.file, self.layer, self.reason = "adapter", file, layer, reason

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" if self.layer is None else f"{self.file}: {self.layer}: {self.reason}"


class InvalidPicture(BadRequest):
    """Raised when an upload is not a whole, decodable picture within the limits."""

    code, status, hint = "invalid_picture", 422, "Send a complete JPEG, PNG or WebP within the size limits."


class InvalidClip(BadRequest):
    """Raised when a file is not a whole, decodable video or animation."""

    code, status, hint = "invalid_clip", 422, "Send a complete MP4, MOV, Matroska, WebM, AVI, GIF or WebP."


class TooLarge(BadRequest):
    """Raised when a body or a picture is beyond its limit."""

    code, status, hint = "too_large", 413, "Send a smaller file, or raise the limit in the configuration."


class Unknown(BadRequest):
    """Raised when a name does not exist; ``known`` are the names that do, of which the nearest are offered."""

    code, status, hint = "not_found", 404, "Use one of the names that exist."

    def __init__(self, field: str, name: str, known: Sequence[str] = ()) -> None:
        GreenlightError.__init__(self, field, name, tuple(known))
        self._field, self.name, self.known = field, name, tuple(known)
        near = get_close_matches(name, self.known, n=3, cutoff=0.4)
        self.reason = f"there is no {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "")


class Conflict(GreenlightError):
    """Raised when a request contradicts what is recorded: ``reason``."""

    code, status, hint = "conflict", 409, "Use another run id, or fetch the run that exists."

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Busy(GreenlightError):
    """Raised when the queue is full: ``queued`` runs wait, ``limit`` is the most; ``retry_after_s`` is in seconds."""

    code, status, hint = "busy", 429, "Try again after the time in Retry-After."

    def __init__(self, queued: int, limit: int, retry_after_s: int) -> None:
        super().__init__(queued, limit, retry_after_s)
        self.queued, self.limit, self.retry_after_s = queued, limit, retry_after_s

    def __str__(self) -> str:
        return f"{self.queued} runs are waiting and the limit is {self.limit}"


class Misconfigured(GreenlightError):
    """Raised when a pipeline, profile or weights file is wrong: ``where`` (file or dotted path) and ``reason``."""

    code, status, hint = "misconfigured", 500, "Run `greenlight check` on the file that is named."

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where, self.reason = where, reason

    @property
    def field(self) -> str:
        """The file or dotted path at fault."""
        return self.where

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class NotFetched(GreenlightError):
    """Raised when ``what`` (an address without its credentials, or `owner/name/file`) was not had: ``reason``."""

    code, status, hint = "not_fetched", 502, "Correct the address, or run `greenlight pull` where the network allows."

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class StageError(GreenlightError):
    """Raised when a stage said no while working. Not tried again with the same seed."""

    code, status, hint = "stage_error", 500, "See the run's report for the step that failed."


class Rejected(StageError):
    """Raised when a gate turns a clip away: ``detector`` said so, at ``frame`` (None: the clip), with ``value``.

    ``is_final``: another seed cannot help, so the run is not tried again. A stage that is no gate gives up its own
    attempt with it; ``record`` is then its record so far, as JSON values, set by its host: what was spent is counted.
    """

    code, status, hint = "rejected", 422, "Change the seed or the prompt, allow more attempts, or relax the gate."
    record: dict[str, Any] | None = None

    def __init__(self, detector: str, frame: int | None, value: float, reason: str, is_final: bool = False) -> None:
        super().__init__(detector, frame, value, reason, is_final)
        self.detector, self.frame, self.value, self.reason = detector, frame, value, reason
        self.is_final = is_final

    def __str__(self) -> str:
        where = "the clip" if self.frame is None else f"frame {self.frame}"
        return f"{self.detector} turned {where} away at {self.value:.4g}: {self.reason}"


class OutOfMemory(StageError):
    """Raised when something did not fit: ``what`` (a tile, a model) on ``device``."""

    code, status, hint = (
        "out_of_memory",
        507,
        "Use a smaller size, or give the deployment a larger share of the device.",
    )

    def __init__(self, what: str, device: str) -> None:
        super().__init__(what, device)
        self.what, self.device = what, device

    def __str__(self) -> str:
        return f"{self.what} does not fit on {self.device}"


class StageFailed(StageError):
    """Raised when a stage ended with an unforeseen exception: ``stage``, the ``kind`` (class) and its ``detail``."""

    code = "stage_failed"

    def __init__(self, stage: str, kind: str, detail: str) -> None:
        super().__init__(stage, kind, detail)
        self.stage, self.kind, self.detail = stage, kind, detail

    def __str__(self) -> str:
        return f"{self.stage} ended with {self.kind}: {self.detail}"


class Interrupted(GreenlightError):
    """Raised when work stopped for a reason outside of it."""

    code = "interrupted"


class Cancelled(Interrupted):
    """Raised inside a stage, at its next step, after somebody cancelled the run."""

    code, status, hint = "cancelled", 409, "Start a new run."

    def __str__(self) -> str:
        return "the run was cancelled"


class Unavailable(Interrupted):
    """Raised when ``what`` (a replica, a store) died or was not there: ``detail``. The step may be tried again."""

    code, status, hint = "unavailable", 503, "The step is tried again; look at the replica's log if it persists."

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(what, detail)
        self.what, self.detail = what, detail

    def __str__(self) -> str:
        return f"{self.what} is unavailable: {self.detail}"


class InputLost(Unavailable):
    """Raised when a value on its way to ``what`` (a step) is gone: ``detail``. Trying the same step again is no use."""

    code, hint = "input_lost", "The attempt is walked again from its inputs; see the cluster's log for what went away."


class DeadlineExceeded(Interrupted):
    """Raised when ``what`` (``budget_s``) of ``limit`` is spent."""

    code, status, hint = "deadline_exceeded", 504, "Raise the limit, or ask for less."

    def __init__(self, what: str, limit: float) -> None:
        super().__init__(what, limit)
        self.what, self.limit = what, limit

    def __str__(self) -> str:
        return f"{self.what} of {self.limit:g} is spent"
