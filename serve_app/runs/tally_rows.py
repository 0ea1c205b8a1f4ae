"""The counters' rows in the SQL run store: added to in the transaction that ends a run, and read by a scrape."""

from __future__ import annotations

import json

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from serve_app.runs import tables
from serve_app.runs.model import RunState
from serve_app.runs.tally import COUNTED, Figures, Tally

_runs, _tallies = tables.runs.c, tables.tallies.c
_UNENDED = [state.value for state in RunState if not state.is_final]


def add(connection: Connection, tally: Tally) -> None:
    """Add ``tally`` to the counters. In one order always: two transactions must not wait for each other's rows."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    for (name, labels), value in sorted(tally.items()):
        row = insert(tables.tallies).values(name=name, labels=json.dumps(labels), value=value)
        same = [_tallies.name, _tallies.labels]
        connection.execute(row.on_conflict_do_update(index_elements=same, set_={"value": _tallies.value + value}))


def figures(connection: Connection, now_s: float) -> Figures:
    """Return every counter, and what has not ended. Neither walks the runs that have."""
    rows = connection.execute(select(tables.tallies)).mappings().all()
    counted = {(row["name"], tuple(json.loads(row["labels"]))): row["value"] for row in rows if row["name"] in COUNTED}
    grouped = select(_runs.pipeline, _runs.state, func.count().label("count")).where(_runs.state.in_(_UNENDED))
    unended = connection.execute(grouped.group_by(_runs.pipeline, _runs.state)).mappings().all()
    oldest = connection.execute(select(func.min(_runs.created_s)).where(_runs.state == RunState.QUEUED.value))
    since_s = oldest.scalar_one()
    return Figures(
        counted,
        {(row["pipeline"], row["state"]): float(row["count"]) for row in unended},
        0.0 if since_s is None else max(0.0, now_s - since_s),
    )
