"""A run's life as values: what was asked, where it stands, what happened. Times are unix seconds."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from serve_app.core import digest
from serve_app.core.errors import InvalidInput

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_NAME_LIMIT = 200
_LATER = {"budget_usd", "max_seconds", "max_cost_usd"}
"""Fields of a policy that came after the first runs were recorded: where they say nothing, a request is the same."""


class RunState(StrEnum):
    """Where a run stands: QUEUED -> RUNNING -> one of the final states; a released run is QUEUED again."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"  # every attempt was turned away by a gate
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen to the run any more."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


class Beat(Enum):
    """What a runner learns from a heartbeat."""

    HELD = "held"  # go on
    LOST = "lost"  # another runner has the run, or it has ended: stop, and record nothing
    CANCEL = "cancel"  # the lease is held, but somebody cancelled the run: stop and finish as cancelled


@dataclass(frozen=True)
class RunRequest:
    """What a caller asked for: ``inputs`` and ``policy`` are JSON objects, an image is an artifact's ``as_json()``.

    ``seed_origin``: who chose the seed, in words; None for a pipeline that takes none. Not part of what was asked.
    """

    id: str
    pipeline: str
    inputs: dict[str, Any]
    policy: dict[str, Any]
    seed_origin: str | None = None


@dataclass(frozen=True)
class Run:
    """A recorded run. ``error`` and ``report`` are JSON objects, None until there is one.

    ``claims``: how often a runner has taken it up. ``owner``: who holds the lease, None unless running.
    ``last_seq``: the number of its newest event, 0 before the first; the events of a final run end there.
    ``seed_origin``: who chose the seed, in words; None where nobody is known to have.
    """

    id: str
    pipeline: str
    inputs: dict[str, Any]
    policy: dict[str, Any]
    state: RunState
    created_s: float
    started_s: float | None
    finished_s: float | None
    claims: int
    owner: str | None
    is_cancel_requested: bool
    error: dict[str, Any] | None
    report: dict[str, Any] | None
    last_seq: int
    seed_origin: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a run: ``seq`` counts from 1 without a gap, ``data`` is a JSON object."""

    run_id: str
    seq: int
    at_s: float
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Page:
    """Some runs, newest first; ``next_cursor`` asks for older ones and is None at the end."""

    runs: tuple[Run, ...]
    next_cursor: str | None


def new_run_id(now_s: float | None = None) -> str:
    """Return ``run_`` and 26 lower-case base32 digits: 48 bits of time in ms, then 80 random bits.

    Ids sort as text in order of their time (to the ms) and need no escaping in a URL. The layout and the alphabet
    (no i, l, o, u) are those of a ULID, https://github.com/ulid/spec. ``now_s`` is the present when None.
    """
    at_ms = int((time.time() if now_s is None else now_s) * 1000)
    number = at_ms << 80 | secrets.randbits(80)
    return "run_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_run_id(value: str) -> bool:
    """Whether ``value`` may name a run: 1 to 64 of ``A-Z a-z 0-9 _ -``."""
    return _RUN_ID.fullmatch(value) is not None


def check_run_id(value: str) -> str:
    """Return ``value``; raise InvalidInput naming ``id`` unless it may name a run."""
    if not is_run_id(value):
        raise InvalidInput("id", "a run id is 1 to 64 of the characters A-Z a-z 0-9 _ -")
    return value


def check_pipeline_name(value: str) -> str:
    """Return ``value``; raise InvalidInput naming ``pipeline`` unless it is 1 to 200 printable characters."""
    if not 1 <= len(value) <= _NAME_LIMIT or not value.isprintable():
        raise InvalidInput("pipeline", f"a pipeline's name is 1 to {_NAME_LIMIT} printable characters")
    return value


def request_digest(request: RunRequest) -> str:
    """Return the identity of what was asked, without the id: equal requests have equal digests.

    A field of the policy that came later does not count while it is None: a run recorded before it is still the same.

    Raises InvalidInput naming ``inputs`` or ``policy`` when JSON cannot say them (NaN, infinity, bytes).
    """
    for field, value in (("inputs", request.inputs), ("policy", request.policy)):
        try:
            digest.of_json(value)
        except (TypeError, ValueError) as error:
            raise InvalidInput(field, f"JSON cannot say this: {error}") from error
    policy = {name: value for name, value in request.policy.items() if value is not None or name not in _LATER}
    return digest.of_json({"pipeline": request.pipeline, "inputs": request.inputs, "policy": policy})
