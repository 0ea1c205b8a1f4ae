"""One try of a run, as a value: its seed, its steps' records, what it made, and why a gate turned it away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.core.artifact import Artifact
from serve_app.core.score import Score
from serve_app.graph.record import NOTHING, Called, StepRecord
from serve_app.runs.store import Recalled
from serve_app.runs.values import from_json, is_kept

END = "@end"
"""Where an attempt's own record is remembered, beside its nodes' values; no node can have this name (`spec.Name`)."""


@dataclass(frozen=True)
class Attempt:
    """One try. ``records`` has every call of a step, also of one that was made again after a loss: all of it costs.

    ``seconds``: wall time, and the steps' seconds of a runner that was lost over it. ``is_finished`` is False for a
    try that was cut short: cancelled, failed, out of budget. It was never accepted.
    """

    number: int
    seed: int | None
    seconds: float
    records: tuple[StepRecord, ...]
    values: Mapping[str, Any]
    rejection: dict[str, Any] | None
    is_finished: bool = True

    @property
    def is_hopeless(self) -> bool:
        """Whether its rejection said that no other seed can help, so that there is no use in another attempt."""
        return self.rejection is not None and bool(self.rejection.get("is_final"))

    @property
    def is_given_up(self) -> bool:
        """Whether a step rejected what it was itself about to make, so that there is nothing to keep."""
        return self.rejection is not None and any(record.value == NOTHING for record in self.records)

    @property
    def rank(self) -> tuple[int, float]:
        """Greater is better: how many scores it lived to see, then the lowest of them in points.

        Rounded as remembered points are, so that a successor after a crash ranks alike.
        """
        points = [round(value.points, 3) for value in self.values.values() if isinstance(value, Score)]
        return len(points), min(points, default=0.0)

    def end_json(self) -> dict[str, Any]:
        """Return what is remembered under ``END``."""
        records = [record.as_json() for record in self.records]
        return {"seed": self.seed, "seconds": self.seconds, "rejection": self.rejection, "records": records}


@dataclass(frozen=True)
class Result:
    """All attempts, which of them is delivered (None: nothing), and whether a gate passed it.

    ``undelivered``: why the best attempt is not there though the policy would keep it; else None.
    """

    attempts: tuple[Attempt, ...]
    delivered: Attempt | None
    is_accepted: bool
    undelivered: str | None = None

    @property
    def judged(self) -> Attempt | None:
        """The last attempt that came to its end; one that was cut short after it says nothing about the run."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.is_finished), None)


def seed_of(first: int | None, vary: str, number: int) -> int | None:
    """Return the seed of attempt ``number`` (from 1) of a run whose ``first`` is given (None: it takes no seed)."""
    return first if first is None or number == 1 or vary == "nothing" else derived_seed(first, number)


def derived_seed(seed: int, number: int) -> int:
    """Return the seed of attempt ``number`` (from 2): 32 bits of a sha256, so that neighbours share nothing."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def small(done: Mapping[str, Called]) -> dict[str, Any]:
    """Return the values of finished steps that may be held on to; a clip would stay in the store for as long."""
    return {node: called.value for node, called in done.items() if isinstance(called.value, Artifact | Score)}


def known_in(recalled: Recalled, number: int) -> dict[str, Called]:
    """Return the steps of an attempt whose value was remembered whole; of one that was made again, the last value."""
    mine = [value for (n, node), value in recalled.items() if n == number and node != END]
    found = sorted((from_json(value) for value in mine if is_kept(value)), key=lambda called: called.record.started_s)
    return {called.record.node: called for called in found}


def records_in(recalled: Recalled, number: int) -> tuple[StepRecord, ...]:
    """Return the records of every call that is remembered of an attempt, in order of time."""
    documents = list(recalled.get((number, END), {"records": []})["records"])
    documents += [value["record"] for (n, node), value in recalled.items() if n == number and node != END]
    return each_once(StepRecord.from_json(document) for document in documents)


def each_once(records: Iterable[StepRecord]) -> tuple[StepRecord, ...]:
    """Return ``records`` in order of time, without repetitions."""
    found = {(record.started_s, record.node): record for record in records}
    return tuple(found[key] for key in sorted(found))


def attempts_in(recalled: Recalled, seed: Callable[[int], int | None]) -> list[Attempt]:
    """Return the attempts of a run from what was remembered, in order; ``seed`` gives an attempt's by its number."""
    attempts = []
    for number in sorted({number for number, _ in recalled}):
        end, records = recalled.get((number, END)), records_in(recalled, number)
        values = small(known_in(recalled, number))
        if end is not None:
            told = {(record["started_s"], record["node"]) for record in end["records"]}
            # A runner that was lost while it finished the best attempt left steps, and no word on their time.
            later_s = sum(record.seconds for record in records if (record.started_s, record.node) not in told)
            attempts.append(Attempt(number, end["seed"], end["seconds"] + later_s, records, values, end["rejection"]))
        else:
            seconds = sum(record.seconds for record in records)
            attempts.append(Attempt(number, seed(number), seconds, records, values, None, is_finished=False))
    return attempts
