"""The sweeper: keeps a sweep's cells coming, a bounded number at a time, from beside any runner's queue.

Every look works from the store alone, and cells are submitted in their order under ids of their own. So any number of
runners may look at once and any may die: an outdated look submits what is there already, which changes nothing. A
client is not needed at all.
"""

from __future__ import annotations

import asyncio
import logging

from serve_app.core.errors import Busy, Conflict, GreenlightError, Unavailable
from serve_app.runs.patience import patiently
from serve_app.runs.store import RunStore
from serve_app.runs.sweep_model import Cell, Sweep, SweepState, result_of

log = logging.getLogger("greenlight.sweeps")

EVERY_S = 0.5


class Sweeper:
    """Looks after every sweep in ``store``. ``max_queued`` is the queue's limit, which cells heed like any run."""

    def __init__(self, store: RunStore, max_queued: int, every_s: float = EVERY_S) -> None:
        self._store, self._max_queued, self._every_s = store, max_queued, every_s
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, on the running event loop."""
        self._loop = asyncio.ensure_future(self._look_for_ever())

    def check(self) -> None:
        """Raise what ended the loop; it should never end."""
        if self._loop is not None and self._loop.done():
            self._loop.result()

    async def stop(self) -> None:
        """Look no more. Runs that were submitted go on."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        while True:
            await patiently(self.look)
            await asyncio.sleep(self._every_s)

    def look(self) -> None:
        """Look once at every unended sweep: keep results, submit what there is room for. Raises Unavailable.

        A sweep that cannot be worked on ends as cancelled, and the log says why: it must not keep the others waiting.
        """
        for sweep in self._store.sweeps.unended():
            try:
                self._advance(sweep)
            except Unavailable:
                raise
            except (GreenlightError, KeyError, TypeError, ValueError) as error:
                log.exception("sweep %s is cancelled, for it cannot be worked on: %r", sweep.id, error)
                self._store.sweeps.finish(sweep.id, SweepState.CANCELLED)

    def _advance(self, sweep: Sweep) -> None:
        cells = self._store.sweeps.cells(sweep.id)
        for cell in cells:
            if cell.state is not None and cell.state.is_final and cell.result is None:
                result = result_of(self._store.get(cell.run_id), cell.score_node)
                self._store.sweeps.record(sweep.id, cell.position, result)
        at_work = [cell for cell in cells if cell.state is not None and not cell.state.is_final]
        if sweep.is_cancel_requested:
            self._wind_up(sweep, at_work)
        elif all(cell.state is not None and cell.state.is_final for cell in cells):
            self._store.sweeps.finish(sweep.id, SweepState.FINISHED)
        else:
            self._submit(sweep, cells, int(sweep.spec["concurrency"]) - len(at_work))

    def _wind_up(self, sweep: Sweep, at_work: list[Cell]) -> None:
        """Cancel the runs at work; the sweep has ended when none is left, so that every result is kept."""
        for cell in at_work:
            self._store.cancel(cell.run_id)
        if not at_work:
            self._store.sweeps.finish(sweep.id, SweepState.CANCELLED)

    def _submit(self, sweep: Sweep, cells: list[Cell], room: int) -> None:
        waiting = [cell for cell in cells if cell.state is None]
        for cell in waiting[: max(0, room)]:
            try:
                run, _ = self._store.add(self._store.sweeps.run_of(sweep.id, cell.position), self._max_queued)
            except (Busy, Conflict) as error:  # other people's runs fill the queue, or took the id: look again later
                log.warning("sweep %s: cell %d has to wait: %s", sweep.id, cell.position, error)
                return
            if self._store.sweeps.get(sweep.id).is_cancel_requested:  # meanwhile, and perhaps nobody else saw this run
                self._store.cancel(run.id)
                return
