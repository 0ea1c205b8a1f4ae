"""The sweep store in SQL, in the run store's own database: a cell's state is its run's, joined, never copied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, insert, select, update

from serve_app.core import digest
from serve_app.core.errors import Conflict, InvalidInput, Unknown
from serve_app.runs import rows, tables
from serve_app.runs.database import Database
from serve_app.runs.model import RunRequest, RunState, is_run_id
from serve_app.runs.sweep_model import (
    Cell,
    CellRequest,
    CellResult,
    Sweep,
    SweepPage,
    SweepRequest,
    SweepState,
    check_sweep_id,
)
from serve_app.runs.sweep_store import Cells, Sweeps

_sweeps, _cells, _runs = tables.sweeps.c, tables.sweep_cells.c, tables.runs.c
_PAGE_LIMIT = 500


class SqlSweepStore:
    """A SweepStore (see `sweep_store`) on the run store's ``database``; ``clock`` returns unix seconds."""

    def __init__(self, database: Database, clock: rows.Clock) -> None:
        self._database, self._clock = database, clock

    def add(self, request: SweepRequest) -> tuple[Sweep, bool]:
        """Record a sweep with its cells, once; see SweepStore.add."""
        check_sweep_id(request.id)
        identity = digest.of_json(request.spec)
        with self._database.write() as connection:
            self._database.serialise(connection)  # or two callers would both find that it is not there
            known = _find(connection, request.id)
            if known is not None:
                if known["digest"] != identity:
                    raise Conflict(f"sweep {request.id} was recorded before with another specification")
                return _sweep_of(known), False
            row = {
                "id": request.id,
                "digest": identity,
                "spec": rows.text_of(request.spec),
                "size": len(request.cells),
                "state": SweepState.RUNNING.value,
                "created_s": self._clock(),
            }
            connection.execute(insert(tables.sweeps).values(row))
            connection.execute(insert(tables.sweep_cells), _cell_rows(request.id, request.cells))
            return _sweep_of(_existing(connection, request.id)), True

    def get(self, sweep_id: str) -> Sweep:
        """Return a sweep; raise Unknown naming ``sweep``."""
        with self._database.read() as connection:
            return _sweep_of(_existing(connection, sweep_id))

    def list(self, limit: int, cursor: str | None = None) -> SweepPage:
        """Return sweeps, newest first; see SweepStore.list."""
        if not 1 <= limit <= _PAGE_LIMIT:
            raise InvalidInput("limit", f"{limit} is not within 1..{_PAGE_LIMIT}")
        query = select(tables.sweeps).order_by(_sweeps.number.desc()).limit(limit + 1)
        if cursor is not None:
            if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
                raise InvalidInput("cursor", "it is not the next_cursor of a page")
            query = query.where(_sweeps.number < int(cursor))
        with self._database.read() as connection:
            found = connection.execute(query).mappings().all()
        more = str(found[limit - 1]["number"]) if len(found) > limit else None
        return SweepPage(tuple(_sweep_of(row) for row in found[:limit]), more)

    def unended(self) -> Sweeps:
        """Return every sweep that has not ended; see SweepStore.unended."""
        running = _sweeps.state == SweepState.RUNNING.value
        with self._database.read() as connection:
            found = connection.execute(select(tables.sweeps).where(running).order_by(_sweeps.number)).mappings().all()
        return [_sweep_of(row) for row in found]

    def cells(self, sweep_id: str) -> Cells:
        """Return the cells in order, each with its run's state; see SweepStore.cells."""
        joined = tables.sweep_cells.outerjoin(tables.runs, _cells.run_id == _runs.id)
        light = (_cells.position, _cells.run_id, _cells.pipeline, _cells.axes, _cells.score_node, _cells.result)
        query = select(*light, _runs.state.label("run_state")).select_from(joined)  # inputs may be long prompts
        with self._database.read() as connection:
            _existing(connection, sweep_id)
            found = connection.execute(query.where(_cells.sweep_id == sweep_id).order_by(_cells.position))
            return [_cell_of(row) for row in found.mappings()]

    def run_of(self, sweep_id: str, position: int) -> RunRequest:
        """Return the run that a cell asks for; see SweepStore.run_of."""
        query = select(tables.sweep_cells).where(_cells.sweep_id == sweep_id, _cells.position == position)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one()
        inputs, policy = json.loads(row["inputs"]), json.loads(row["policy"])
        return RunRequest(row["run_id"], row["pipeline"], inputs, policy, row["seed_origin"])

    def record(self, sweep_id: str, position: int, result: CellResult) -> None:
        """Keep what became of a cell; see SweepStore.record."""
        place = and_(_cells.sweep_id == sweep_id, _cells.position == position, _cells.result.is_(None))
        with self._database.write() as connection:
            connection.execute(update(tables.sweep_cells).where(place).values(result=rows.text_of(result.as_json())))

    def finish(self, sweep_id: str, state: SweepState) -> None:
        """End a sweep; see SweepStore.finish."""
        unended = and_(_sweeps.id == sweep_id, _sweeps.state == SweepState.RUNNING.value)
        with self._database.write() as connection:
            changes = {"state": state.value, "finished_s": self._clock()}
            connection.execute(update(tables.sweeps).where(unended).values(changes))

    def cancel(self, sweep_id: str) -> Sweep:
        """Ask a sweep to stop; see SweepStore.cancel."""
        unended = and_(_sweeps.id == sweep_id, _sweeps.state == SweepState.RUNNING.value)
        with self._database.write() as connection:
            _existing(connection, sweep_id)
            connection.execute(update(tables.sweeps).where(unended).values(is_cancel_requested=True))
            return _sweep_of(_existing(connection, sweep_id))


def _find(connection: Connection, sweep_id: str) -> RowMapping | None:
    if not is_run_id(sweep_id):  # PostgreSQL refuses some characters outright, and no sweep has them
        return None
    return connection.execute(select(tables.sweeps).where(_sweeps.id == sweep_id)).mappings().one_or_none()


def _existing(connection: Connection, sweep_id: str) -> RowMapping:
    row = _find(connection, sweep_id)
    if row is None:
        raise Unknown("sweep", sweep_id)
    return row


def _cell_rows(sweep_id: str, cells: Sequence[CellRequest]) -> list[dict[str, Any]]:
    return [
        {
            "sweep_id": sweep_id,
            "position": position,
            "run_id": cell.run.id,
            "pipeline": cell.run.pipeline,
            "axes": rows.text_of(cell.axes),
            "score_node": cell.score_node,
            "inputs": rows.text_of(cell.run.inputs),
            "policy": rows.text_of(cell.run.policy),
            "seed_origin": cell.run.seed_origin,
        }
        for position, cell in enumerate(cells)
    ]


def _sweep_of(row: RowMapping) -> Sweep:
    return Sweep(
        id=row["id"],
        spec=json.loads(row["spec"]),
        size=row["size"],
        state=SweepState(row["state"]),
        created_s=row["created_s"],
        finished_s=row["finished_s"],
        is_cancel_requested=row["is_cancel_requested"],
    )


def _cell_of(row: RowMapping) -> Cell:
    return Cell(
        position=row["position"],
        run_id=row["run_id"],
        pipeline=row["pipeline"],
        axes=json.loads(row["axes"]),
        score_node=row["score_node"],
        state=None if row["run_state"] is None else RunState(row["run_state"]),
        result=None if row["result"] is None else CellResult.from_json(json.loads(row["result"])),
    )
