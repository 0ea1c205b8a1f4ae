"""Folding a clip: a part of every chunk as it comes, ahead of a gate's verdict too, then all parts into one value."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from serve_app.core.errors import GreenlightError
from serve_app.graph.callers import Call
from serve_app.graph.errand import Errand, Pieces
from serve_app.graph.flow import Flow, NotReached, cut_short
from serve_app.graph.order import both, in_order
from serve_app.graph.plan import Step
from serve_app.graph.record import Called, StepRecord, merged
from serve_app.graph.tally import Tally

if TYPE_CHECKING:
    from serve_app.graph.relay import Walker


class Folding:
    """One folding step at work. ``credits`` parts are made at a time."""

    def __init__(self, walker: Walker, step: Step, values: Mapping[str, Any], credits: int) -> None:
        self._walker, self._step, self._values, self._credits = walker, step, values, credits
        ways = step.deployment.contract.ways
        self._port, self._wants_before = ways.clip_port or "", ways.wants_before
        self._parts: dict[int, Any] = {}
        self._records: list[StepRecord] = []

    async def fold(self, flow: Flow, gate: str | None) -> Called:
        """Return what the stage makes of ``flow``; with a ``gate``, begin before its verdict is known.

        Raises NotReached when the gate rejects.
        """
        node = self._step.node
        flow.begin(node)
        try:
            await flow.get(0)
            if gate is None:
                call = self._walker.begin(self._step, self._values)
                await self._make(call, flow)
            else:
                flow, call = await self._make_ahead(flow, gate)
            parts = Pieces(tuple(self._parts[index] for index in range(await flow.count())))
            given = {**self._values, self._port: parts}
            called = await self._walker.perform(replace(call, values=given, errand=Errand("gather", is_piece=True)))
        except (NotReached, GreenlightError, asyncio.CancelledError) as error:
            if self._records:  # parts that ran ahead of a rejection, too, have cost time
                await self._walker.keep(Called(None, cut_short(self._records, error)))
            raise
        finally:
            flow.end(node)
        record = merged([*self._records, called.record])
        done = Called(called.value, replace(record, chunks=len(parts.items)))
        await self._walker.keep(done)
        return done

    async def _make_ahead(self, flow: Flow, gate: str) -> tuple[Flow, Call]:
        """Make the parts while the gate is shut; then again of what the gate has changed."""
        silent = replace(self._walker.prepared(self._step, self._values), on_progress=lambda done, of: None)
        try:
            final: Flow = await both(self._make(silent, flow), self._walker.value_of(gate))
            changed = [index for index in range(await flow.count()) if not final.is_same(flow, index)]
        finally:
            flow.end(self._step.node)
        call = self._walker.begin(self._step, self._values)
        for index in changed:
            await self._part(call, final, index)
        return final, call

    async def _make(self, call: Call, flow: Flow) -> None:
        count = await flow.count()
        tally = Tally(call.on_progress, flow.frames)

        async def one(index: int) -> None:
            tell = tally.teller(index, flow.span(index)[1])
            await self._part(replace(call, on_progress=tell), flow, index)
            for done in (index - 1, index):
                if done in self._parts and (done + 1 in self._parts or done + 1 == count or not self._wants_before):
                    flow.release(done, self._step.node)

        await in_order(count, one, self._credits)

    async def _part(self, call: Call, flow: Flow, index: int) -> None:
        before = (await flow.get(index - 1),) if self._wants_before and index else ()
        given = {**self._values, self._port: Pieces((*before, await flow.get(index)))}
        errand = Errand("part", first=flow.span(index)[0], of=flow.frames, is_piece=True)
        called = await self._walker.perform(replace(call, values=given, errand=errand))
        self._records.append(called.record)
        self._parts[index] = called.value
