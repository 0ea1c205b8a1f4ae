"""Rows of the run store's tables: finding them under a lock, changing them, and the values they stand for.

Every function works inside the caller's transaction. A row that is read for writing is locked until the transaction
ends (PostgreSQL: FOR UPDATE; SQLite: the transaction holds the file's write lock).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, insert, select, update

from serve_app.core.errors import Conflict, Unknown
from serve_app.runs import tables, tally_rows
from serve_app.runs.model import Event, Run, RunState, is_run_id
from serve_app.runs.tally import Ended, tally_of

Clock = Callable[[], float]
"""Returns unix seconds."""

_runs = tables.runs.c
_UNENDED = (RunState.QUEUED.value, RunState.RUNNING.value)


def text_of(value: dict[str, Any] | None) -> str | None:
    """Return ``value`` as JSON text in ASCII; raise ValueError or TypeError for what JSON cannot say (NaN among it)."""
    return None if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False)


def run_of(row: RowMapping) -> Run:
    """Return the run that a row of ``runs`` stands for."""
    return Run(
        id=row["id"],
        pipeline=row["pipeline"],
        inputs=json.loads(row["inputs"]),
        policy=json.loads(row["policy"]),
        state=RunState(row["state"]),
        created_s=row["created_s"],
        started_s=row["started_s"],
        finished_s=row["finished_s"],
        claims=row["claims"],
        owner=row["owner"],
        is_cancel_requested=row["is_cancel_requested"],
        error=None if row["error"] is None else json.loads(row["error"]),
        report=None if row["report"] is None else json.loads(row["report"]),
        last_seq=row["last_seq"],
        seed_origin=row["seed_origin"],
    )


def event_of(row: RowMapping) -> Event:
    """Return the event that a row of ``events`` stands for."""
    return Event(row["run_id"], row["seq"], row["at_s"], row["kind"], json.loads(row["data"]))


def count(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    """Return how many rows of a table meet all ``conditions`` on its columns."""
    return connection.execute(select(func.count()).where(*conditions)).scalar_one()


def find(connection: Connection, run_id: str, is_locked: bool = False) -> RowMapping | None:
    """Return the run's row, or None."""
    if not is_run_id(run_id):  # PostgreSQL refuses some characters outright, and no run has them
        return None
    query = select(tables.runs).where(_runs.id == run_id)
    return connection.execute(query.with_for_update() if is_locked else query).mappings().one_or_none()


def existing(connection: Connection, run_id: str, is_locked: bool = False) -> RowMapping:
    """Return the run's row; raise Unknown naming ``run``."""
    row = find(connection, run_id, is_locked)
    if row is None:
        raise Unknown("run", run_id)
    return row


def unended(connection: Connection, run_id: str) -> RowMapping:
    """Return the run's row, locked; raise Unknown naming ``run``, and Conflict when the run has ended."""
    row = existing(connection, run_id, is_locked=True)
    if RunState(row["state"]).is_final:
        raise _refusal(row)
    return row


def held(connection: Connection, run_id: str, owner: str) -> RowMapping | None:
    """Return the run's row, locked, if ``owner`` has its lease; raise Unknown naming ``run``."""
    row = existing(connection, run_id, is_locked=True)
    return row if row["owner"] == owner and row["state"] == RunState.RUNNING.value else None


def next_to_claim(connection: Connection, now_s: float) -> RowMapping | None:
    """Return the row of the run to take up next, locked: the oldest with an expired lease, else the oldest queued.

    Rows that another claimant has locked are passed over. Two queries, as each is one step into an index however long
    the history is; one query with OR walks all of it.
    """
    expired = and_(_runs.state == RunState.RUNNING.value, _runs.lease_until_s < now_s)
    for condition in (expired, _runs.state == RunState.QUEUED.value):
        query = select(tables.runs).where(condition).order_by(_runs.number).limit(1)
        row = connection.execute(query.with_for_update(skip_locked=True)).mappings().one_or_none()
        if row is not None:
            return row
    return None


def change(connection: Connection, run_id: str, changes: dict[str, Any]) -> RowMapping:
    """Write ``changes`` (column -> value) to a run that exists, and return its new row."""
    query = update(tables.runs).where(_runs.id == run_id).values(changes).returning(tables.runs)
    return connection.execute(query).mappings().one()


def write_event(connection: Connection, run_id: str, clock: Clock, kind: str, data: dict[str, Any]) -> int:
    """Write the next event of a run and return its number; raise Unknown, or Conflict when the run has ended.

    Counting in the run's row, not from the events, makes writers of one run take turns: no number twice, none missing.
    """
    counted = update(tables.runs).where(_runs.id == run_id, _runs.state.in_(_UNENDED))
    counted = counted.values(last_seq=_runs.last_seq + 1)
    seq = connection.execute(counted.returning(_runs.last_seq)).scalar_one_or_none() if is_run_id(run_id) else None
    if seq is None:
        raise _refusal(existing(connection, run_id))
    row = {"run_id": run_id, "seq": seq, "at_s": clock(), "kind": kind, "data": text_of(data)}
    connection.execute(insert(tables.events).values(row))
    return int(seq)


def end(connection: Connection, run_id: str, clock: Clock, state: RunState, result: dict[str, Any]) -> RowMapping:
    """End a run that has not ended, together with its last event, and return its new row.

    ``result`` has ``report`` and ``error``, each a JSON object or None.
    """
    error = result["error"]
    write_event(connection, run_id, clock, state.value, {} if error is None else {"error": error})
    changes = {"state": state.value, "finished_s": clock(), "owner": None, "lease_until_s": None}
    row = change(connection, run_id, {**changes, **{name: text_of(value) for name, value in result.items()}})
    first_s = row["finished_s"] if row["started_s"] is None else row["started_s"]
    queued_s = max(0.0, first_s - row["created_s"])
    tally_rows.add(connection, tally_of(Ended(row["pipeline"], state, queued_s, result["report"], error)))
    return row


def _refusal(row: RowMapping) -> Conflict:
    return Conflict(f"run {row['id']} has ended as {row['state']}")
