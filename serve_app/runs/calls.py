"""An attempt's calls: each is metered, remembered when it is done, and charged for its time when it is not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from serve_app.core.errors import Cancelled, Conflict, GreenlightError, Rejected, Unavailable
from serve_app.graph.callers import Call, Caller
from serve_app.graph.record import DONE, NOTHING, Called, Charge, Resources, StepRecord
from serve_app.runs.meter import Meter
from serve_app.runs.patience import patiently
from serve_app.runs.values import to_json

Remember = Callable[[str, dict[str, Any], bool], None]
"""Records under a name what a step gave, and whether that is progress; blocks. See `RunStore.remember`."""


@dataclass
class _Start:
    """When a stage began and what it holds: nothing until its turn comes. And what it has paid to others since."""

    held: Resources | None = None
    at_s: float = 0.0
    began: float = 0.0
    charges: list[Charge] = field(default_factory=list)


@dataclass
class Calls:
    """The caller of attempt ``number``. It remembers every step the moment it is done: of a bulky one, the record.

    A call that ended otherwise (cancelled, out of budget, rejected, lost with its replica) held its device as well:
    its time is in ``records`` too. ``final`` is a rejection that no other seed can help, if there was one.
    """

    number: int
    caller: Caller
    meter: Meter
    remember: Remember
    records: list[StepRecord] = field(default_factory=list)
    final: Rejected | None = None

    async def call(self, call: Call) -> Called:
        """See `Caller.call`. Raises what the meter does, too, before the stage is called."""
        self.meter.check()
        name, start = f"{call.step.node}@{time.time():.6f}", _Start()

        def began(held: Resources) -> None:
            start.held, start.at_s, start.began = held, time.time(), time.perf_counter()
            self.meter.began(name, held)

        def charged(charge: Charge) -> None:
            start.charges.append(charge)
            self.meter.charged(name, charge)

        try:
            called = await self.caller.call(replace(call, on_start=began, on_charge=charged))
        except (GreenlightError, asyncio.CancelledError) as error:
            await self._keep(name, _record_of(call, start, error))
            if isinstance(error, Rejected) and error.is_final:
                self.final = error
            raise
        self.meter.ended(name, called.record)
        if not call.errand.is_piece:
            await self.keep(called)
        return called

    async def keep(self, called: Called) -> None:
        """Remember a step that is done; one that was worked off in pieces, which were metered, as one."""
        record = called.record
        name = f"{record.node}@{record.started_s:.6f}"
        is_remade = any(each.node == record.node and each.ended == DONE for each in self.records)
        self.records.append(record)
        if record.ended != DONE:
            await self._note(name, record)
        elif is_remade:  # the store keeps the first value under a name, and this one was paid for as well
            await patiently(self.remember, name, to_json(called), False)
        else:
            await patiently(self.remember, record.node, to_json(called), True)

    async def prepare(self, call: Call) -> None:
        """See `Caller.prepare`."""
        await self.caller.prepare(call)

    async def _keep(self, name: str, record: StepRecord | None) -> None:
        """Keep the time of a call that ended early. With the store away that is in memory alone: nobody waits here."""
        self.meter.ended(name, record)
        if record is None:
            return
        self.records.append(record)
        await self._note(name, record)

    async def _note(self, name: str, record: StepRecord) -> None:
        with contextlib.suppress(Unavailable, Conflict):
            await asyncio.to_thread(self.remember, name, to_json(Called(None, record)), False)


def _record_of(call: Call, start: _Start, error: BaseException) -> StepRecord | None:
    """Return what is known of a call that ``error`` ended; None when its stage never began."""
    if isinstance(error, Rejected) and error.record is not None:
        return StepRecord.from_json(error.record)
    if start.held is None:
        return None
    deployment = call.step.deployment
    is_given_up = isinstance(error, Rejected) and deployment.contract.gates is None
    return StepRecord(
        node=call.step.node,
        stage=deployment.contract.name,
        deployment=deployment.name,
        started_s=start.at_s,
        seconds=time.perf_counter() - start.began,
        waited_s=0.0,
        resources=start.held,
        charges=tuple(start.charges),
        params=call.params.model_dump(mode="json"),
        value=NOTHING if is_given_up else {},
        ended=error.code if isinstance(error, GreenlightError) else Cancelled.code,
    )
