"""The run store in SQL: the same statements on a SQLite file and on PostgreSQL."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from serve_app.core.errors import Busy, Cancelled, Conflict, InvalidInput
from serve_app.runs import rows, tables, tally_rows
from serve_app.runs.database import Database
from serve_app.runs.model import (
    Beat,
    Page,
    Run,
    RunRequest,
    RunState,
    check_pipeline_name,
    check_run_id,
    request_digest,
)
from serve_app.runs.store import ABANDONED, Events, Recalled
from serve_app.runs.sweep_sql import SqlSweepStore
from serve_app.runs.sweep_store import SweepStore
from serve_app.runs.tally import Figures

_runs = tables.runs.c
_PAGE_LIMIT = 500
_RECENT_S = 600.0
_FEWEST_RECENT = 10
_CANCELLED = {
    "report": None,
    "error": {
        "code": Cancelled.code,
        "status": Cancelled.status,
        "field": None,
        "hint": Cancelled.hint,
        "detail": str(Cancelled()),
    },
}


class SqlRunStore:
    """A RunStore (see `store`) at ``sqlite:///runs.db`` or ``postgresql+psycopg://user@host/database``.

    ``clock`` returns unix seconds; every time in the store comes from it, read while the row is locked.
    """

    def __init__(self, url: str, clock: rows.Clock = time.time) -> None:
        """Open the store, and make its tables if they are missing; raise Misconfigured or Unavailable."""
        self._database = Database(url)
        self._clock = clock
        self.sweeps: SweepStore = SqlSweepStore(self._database, clock)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def add(self, request: RunRequest, max_queued: int) -> tuple[Run, bool]:
        """Record a run durably, once; see RunStore.add."""
        check_run_id(request.id)
        check_pipeline_name(request.pipeline)
        digest = request_digest(request)
        with self._database.write() as connection:
            self._database.serialise(connection)  # or two callers would both take the last free place
            known = rows.find(connection, request.id)
            if known is not None:
                if known["digest"] != digest:
                    raise Conflict(f"run {request.id} was recorded before with another request")
                return rows.run_of(known), False
            self._check_room(connection, max_queued)
            row = {
                "id": request.id,
                "digest": digest,
                "pipeline": request.pipeline,
                "inputs": rows.text_of(request.inputs),
                "policy": rows.text_of(request.policy),
                "state": RunState.QUEUED.value,
                "created_s": self._clock(),
                "seed_origin": request.seed_origin,
            }
            connection.execute(insert(tables.runs).values(row))
            return rows.run_of(rows.existing(connection, request.id)), True

    def _check_room(self, connection: Connection, max_queued: int) -> None:
        """Raise Busy when the queue is full; one place took so long to come free in the last ten minutes (1..60 s)."""
        queued = rows.count(connection, _runs.state == RunState.QUEUED.value)
        if queued >= max_queued:
            since_s = self._clock() - _RECENT_S
            ended = rows.count(connection, _runs.finished_s >= since_s)
            raise Busy(queued, max_queued, math.ceil(_RECENT_S / min(max(ended, _FEWEST_RECENT), _RECENT_S)))

    def get(self, run_id: str) -> Run:
        """Return a run; raise Unknown naming ``run``."""
        with self._database.read() as connection:
            return rows.run_of(rows.existing(connection, run_id))

    def list(
        self, limit: int, cursor: str | None = None, state: RunState | None = None, pipeline: str | None = None
    ) -> Page:
        """Return runs, newest first; see RunStore.list."""
        query = select(tables.runs).order_by(_runs.number.desc()).limit(_check_limit(limit) + 1)
        if cursor is not None:
            query = query.where(_runs.number < _number_of(cursor))
        if state is not None:
            query = query.where(_runs.state == state.value)
        if pipeline is not None:
            query = query.where(_runs.pipeline == check_pipeline_name(pipeline))
        with self._database.read() as connection:
            found = connection.execute(query).mappings().all()
        more = str(found[limit - 1]["number"]) if len(found) > limit else None
        return Page(tuple(rows.run_of(row) for row in found[:limit]), more)

    def claim(self, owner: str, lease_s: float, max_claims: int) -> Run | None:
        """Take up the next run under a lease; see RunStore.claim."""
        with self._database.write() as connection:
            while (row := rows.next_to_claim(connection, self._clock())) is not None:
                if row["is_cancel_requested"]:
                    rows.end(connection, row["id"], self._clock, RunState.CANCELLED, _CANCELLED)
                elif row["fruitless_claims"] >= max_claims:
                    result = _abandoned(row["fruitless_claims"])
                    rows.end(connection, row["id"], self._clock, RunState.FAILED, result)
                else:
                    return self._take(connection, row, owner, lease_s)
        return None

    def _take(self, connection: Connection, row: RowMapping, owner: str, lease_s: float) -> Run:
        now_s = self._clock()
        changes = {
            "state": RunState.RUNNING.value,
            "owner": owner,
            "lease_until_s": now_s + lease_s,
            "started_s": now_s if row["started_s"] is None else row["started_s"],
            "claims": row["claims"] + 1,
            "fruitless_claims": row["fruitless_claims"] + 1,
        }
        return rows.run_of(rows.change(connection, row["id"], changes))

    def beat(self, run_id: str, owner: str, lease_s: float) -> Beat:
        """Prolong the lease; see RunStore.beat."""
        with self._database.write() as connection:
            row = rows.held(connection, run_id, owner)
            if row is None:
                return Beat.LOST
            rows.change(connection, run_id, {"lease_until_s": self._clock() + lease_s})
            return Beat.CANCEL if row["is_cancel_requested"] else Beat.HELD

    def release(self, run_id: str, owner: str, is_fault: bool = False) -> bool:
        """Put the run back into the queue; see RunStore.release."""
        with self._database.write() as connection:
            row = rows.held(connection, run_id, owner)
            if row is None:
                return False
            if row["is_cancel_requested"]:
                rows.end(connection, run_id, self._clock, RunState.CANCELLED, _CANCELLED)
                return True
            fruitless = row["fruitless_claims"] if is_fault else max(0, row["fruitless_claims"] - 1)
            changes = {"state": RunState.QUEUED.value, "owner": None, "lease_until_s": None}
            rows.change(connection, run_id, {**changes, "fruitless_claims": fruitless})
            return True

    def finish(
        self, run_id: str, owner: str, state: RunState, report: dict[str, Any] | None, error: dict[str, Any] | None
    ) -> bool:
        """End the run with its last event; see RunStore.finish."""
        if not state.is_final:
            raise ValueError(f"{state} is not a final state")
        with self._database.write() as connection:
            if rows.held(connection, run_id, owner) is None:
                return False
            rows.end(connection, run_id, self._clock, state, {"report": report, "error": error})
            return True

    def cancel(self, run_id: str) -> Run:
        """Cancel a run, at once if nobody works on it; see RunStore.cancel."""
        with self._database.write() as connection:
            row = rows.existing(connection, run_id, is_locked=True)
            if RunState(row["state"]).is_final:
                return rows.run_of(row)
            changed = rows.change(connection, run_id, {"is_cancel_requested": True})
            if row["state"] == RunState.RUNNING.value and row["lease_until_s"] >= self._clock():
                return rows.run_of(changed)
            return rows.run_of(rows.end(connection, run_id, self._clock, RunState.CANCELLED, _CANCELLED))

    def append(self, run_id: str, kind: str, data: dict[str, Any]) -> int:
        """Record an event and return its number; see RunStore.append."""
        with self._database.write() as connection:
            return rows.write_event(connection, run_id, self._clock, kind, data)

    def events(self, run_id: str, after: int = 0, limit: int = _PAGE_LIMIT) -> Events:
        """Return events in order; see RunStore.events."""
        table = tables.events
        query = select(table).where(table.c.run_id == run_id, table.c.seq > after).order_by(table.c.seq)
        with self._database.read() as connection:
            rows.existing(connection, run_id)
            found = connection.execute(query.limit(_check_limit(limit))).mappings().all()
        return [rows.event_of(row) for row in found]

    def remember(self, run_id: str, attempt: int, node: str, value: dict[str, Any], is_progress: bool = True) -> None:
        """Record what a step gave; see RunStore.remember."""
        table = tables.results
        with self._database.write() as connection:
            rows.unended(connection, run_id)
            same = (table.c.run_id == run_id, table.c.attempt == attempt, table.c.node == node)
            if rows.count(connection, *same):
                return
            row = {"run_id": run_id, "attempt": attempt, "node": node, "at_s": self._clock()}
            connection.execute(insert(table).values({**row, "value": rows.text_of(value)}))
            if is_progress:
                rows.change(connection, run_id, {"fruitless_claims": 0})

    def recall(self, run_id: str) -> Recalled:
        """Return everything that was remembered; see RunStore.recall."""
        table = tables.results
        with self._database.read() as connection:
            rows.existing(connection, run_id)
            found = connection.execute(select(table).where(table.c.run_id == run_id)).mappings().all()
        return {(row["attempt"], row["node"]): json.loads(row["value"]) for row in found}

    def counts(self) -> dict[RunState, int]:
        """Return how many runs are in each state."""
        query = select(_runs.state, func.count().label("count")).group_by(_runs.state)
        with self._database.read() as connection:
            found = {row["state"]: row["count"] for row in connection.execute(query).mappings()}
        return {state: found.get(state.value, 0) for state in RunState}

    def figures(self) -> Figures:
        """Return the store's metrics; see RunStore.figures."""
        with self._database.read() as connection:
            return tally_rows.figures(connection, self._clock())

    def heartbeat(self, owner: str, kind: str) -> None:
        """Record that a process is alive; see RunStore.heartbeat."""
        table = tables.heartbeats
        with self._database.write() as connection:
            seen = update(table).where(table.c.owner == owner).values(kind=kind, seen_s=self._clock())
            if connection.execute(seen).rowcount:
                return
            self._database.serialise(connection)  # the first heartbeat of the same owner may be on its way elsewhere
            if not connection.execute(seen).rowcount:
                connection.execute(insert(table).values(owner=owner, kind=kind, seen_s=self._clock()))

    def alive(self, kind: str, within_s: float) -> int:
        """Return how many processes of a kind are alive; see RunStore.alive."""
        table = tables.heartbeats
        with self._database.read() as connection:
            return rows.count(connection, table.c.kind == kind, table.c.seen_s >= self._clock() - within_s)


def _abandoned(claims: int) -> dict[str, Any]:
    detail = f"{claims} runners in a row took the run up and were lost without finishing one more step"
    hint = "Look at the runners' and the replicas' logs for what ended them, then start a new run."
    error = {"code": ABANDONED, "status": 503, "field": None, "hint": hint, "detail": detail}
    return {"report": None, "error": error}


def _check_limit(limit: int) -> int:
    if not 1 <= limit <= _PAGE_LIMIT:
        raise InvalidInput("limit", f"{limit} is not within 1..{_PAGE_LIMIT}")
    return limit


def _number_of(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise InvalidInput("cursor", "it is not the next_cursor of a page")
    return int(cursor)
