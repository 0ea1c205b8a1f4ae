"""Working steps off chunk by chunk, so that those behind begin with the first chunk and none holds a whole clip.

Every call is an ordinary one, for one chunk, and is called again by itself when its replica is lost. Behind a gate
nothing is done before its verdict but the parts of folding stages, which are thrown away when it rejects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from serve_app.core.errors import GreenlightError, InputLost, Rejected
from serve_app.core.media import Clip
from serve_app.graph.callers import Call
from serve_app.graph.errand import Errand, Pieces
from serve_app.graph.flow import Flow, NotReached, Streaming, cut_short
from serve_app.graph.folding import Folding
from serve_app.graph.order import in_order
from serve_app.graph.plan import Bound, Step
from serve_app.graph.record import Called, StepRecord, merged
from serve_app.graph.tally import Tally


class Walker(Protocol):
    """The walk, as a relay sees it."""

    def begin(self, step: Step, values: Mapping[str, Any]) -> Call:
        """Say that ``step`` starts, and return its call."""
        ...

    def prepared(self, step: Step, values: Mapping[str, Any]) -> Call:
        """Return the step's call, and say nothing yet."""
        ...

    async def perform(self, call: Call, may_repeat: Callable[[], bool] = ...) -> Called:
        """Call a stage, again where its replica was lost. Raises InputLost where that may not be."""
        ...

    async def value_of(self, node: str) -> Any:
        """Return what a step made, once it has. Raises NotReached."""
        ...

    def is_done(self, node: str) -> bool:
        """Whether a step has made its value."""
        ...

    async def keep(self, called: Called) -> None:
        """Remember a step that was worked off in pieces."""
        ...


class Relay:
    """The clips of one walk, on their way between ``steps``; ``known`` are values that an earlier walk left."""

    def __init__(
        self, walker: Walker, bound: Bound, steps: Sequence[Step], known: Mapping[str, Called], streaming: Streaming
    ) -> None:
        self._walker, self._bound, self._streaming = walker, bound, streaming
        self._steps = {step.node: step for step in steps}
        self._flows = {node: called.value for node, called in known.items() if isinstance(called.value, Flow)}
        for step in steps:
            if streaming.chunk_frames is not None and self._can_flow(step):
                self._flows[step.node] = self._flow(step.node, streaming.chunk_frames)

    def _flow(self, node: str, chunk_frames: int) -> Flow:
        users = self._users(node)
        gates = {user for user in users if self._looks_at_first(self._steps[user])}
        return Flow(node, chunk_frames, users - gates, gates, self._streaming.is_kept)

    def _can_flow(self, step: Step) -> bool:
        ways = step.deployment.contract.ways
        if ways.is_producer:
            return True
        if not self._works_on_chunks(step) or step.deployment.contract.gates is not None:
            return False
        source = step.takes[ways.clip_port or ""]
        return not source.is_input and self._behind_gates(source.name) in self._flows

    def _looks_at_first(self, step: Step) -> bool:
        return step.deployment.contract.gates is not None and self._works_on_chunks(step)

    def _behind_gates(self, node: str) -> str:
        """Return the node whose chunks ``node`` hands on: itself, unless it is a gate that hands chunks on unread."""
        while node not in self._flows and node in self._steps:
            step = self._steps[node]
            if not self._looks_at_first(step):
                return node
            node = step.takes[step.deployment.contract.gates or ""].name
        return node

    def _users(self, node: str) -> set[str]:
        """Return the steps that will take the chunks of ``node``, also from gates that hand them on."""
        users: set[str] = set()
        for step in self._steps.values():
            for port, source in step.takes.items():
                if not source.is_input and source.name == node:
                    users.add(step.node)
                    if step.deployment.contract.gates == port:
                        users |= self._users(step.node)
        return users

    def early(self, step: Step, port: str) -> Flow | None:
        """Return the flow that ``step`` may take before its maker has finished; None: it waits for the whole value."""
        contract = step.deployment.contract
        ways = contract.ways
        if port != ways.clip_port or not (self._works_on_chunks(step) or self._folds(step)):
            return None
        node = step.takes[port].name
        return self._flows.get(node) if self._ahead_of(step) is None else self._flows.get(self._behind_gates(node))

    def _ahead_of(self, step: Step) -> str | None:
        """Return the gate whose verdict a folding step need not await to begin; None where it takes from no gate."""
        ways = step.deployment.contract.ways
        if not self._folds(step) or ways.wants_before:  # a replaced chunk would change the part after it, too
            return None
        node = step.takes[ways.clip_port or ""].name
        base = self._behind_gates(node)
        return node if base != node and base in self._flows else None

    def _takes_more(self, step: Step) -> bool:
        """Whether it takes another clip beside the one that could come in chunks: then it gets them whole."""
        contract = step.deployment.contract
        return any(contract.ports[port].type is Clip and port != contract.ways.clip_port for port in step.takes)

    def _works_on_chunks(self, step: Step) -> bool:
        return step.deployment.contract.ways.is_chunkwise and not self._takes_more(step)

    def _folds(self, step: Step) -> bool:
        if not step.deployment.contract.ways.is_folding or self._takes_more(step):
            return False
        folds = getattr(step.deployment.stage, "folds", None)
        return folds is None or bool(folds(self._bound.params[step.node], step.deployment.weights))

    async def work(self, step: Step, values: Mapping[str, Any]) -> Called:
        """Work ``step`` off, in chunks where it can. Raises what a call raises."""
        contract = step.deployment.contract
        clip = values.get(contract.ways.clip_port or "")
        if isinstance(clip, Flow) and self._works_on_chunks(step):
            return await (self._each(step, values, clip) if contract.gates is None else self._pass(step, values, clip))
        if isinstance(clip, Flow) and self._folds(step):
            gate = self._ahead_of(step)
            if gate is not None and self._walker.is_done(gate):
                clip, gate = await self._walker.value_of(gate), None
            return await Folding(self._walker, step, values, self._streaming.credits).fold(clip, gate)
        return await self._whole(step, values)

    def ended(self, node: str, task: asyncio.Task[Called]) -> None:
        """Hear that a step has ended: of one that was not reached, or gave up, nothing will come."""
        if node in self._flows and not task.cancelled() and isinstance(task.exception(), NotReached | Rejected):
            self._flows[node].stop()

    async def _whole(self, step: Step, values: Mapping[str, Any]) -> Called:
        """Call a stage once, with whole clips; cut the clip that it makes, if others take it in chunks."""
        flows = {port: value for port, value in values.items() if isinstance(value, Flow)}
        given = {port: await value.whole() if port in flows else value for port, value in values.items()}
        call = self._walker.begin(step, given)
        out, chunk_frames = self._flows.get(step.node), self._streaming.chunk_frames
        if out is not None and chunk_frames is not None:
            called = await self._stream(replace(call, errand=Errand("stream", chunk_frames), on_chunk=out.put), out)
        else:
            called = await self._walker.perform(call)
        for port, flow in flows.items():
            if called.value is given[port]:
                called = Called(flow, called.record)
            elif step.deployment.contract.gates == port:
                for user in self._users(step.node):
                    flow.end(user)
            flow.end(step.node)
        return called

    async def _stream(self, call: Call, out: Flow) -> Called:
        """Call a stage whose clip is to come in chunks.

        When its replica is lost after the first, it is not called again: another device may make another clip, and
        half of one and half of the other would be neither.
        """
        called = await self._walker.perform(call, lambda: not out.is_begun)
        if not out.is_complete:
            raise InputLost(out.node, "a chunk of its clip never came")
        return Called(out, called.record)

    async def _pass(self, step: Step, values: Mapping[str, Any], flow: Flow) -> Called:
        """Let a gate decide over the first chunk; the others are handed on unread."""
        port = step.deployment.contract.gates or ""
        given = {**values, port: Pieces((await flow.get(0),))}
        call = replace(self._walker.begin(step, given), errand=Errand(is_piece=True))
        try:
            called = await self._walker.perform(call)
        finally:
            flow.end(step.node)
        facts = {**called.record.value, "frames": flow.frames}
        record = replace(called.record, value=facts, chunks=await flow.count())
        await self._walker.keep(Called(flow, record))
        # Nothing is awaited from here on: a user that begins ahead of the gate until then is seen to be live.
        is_same = called.value is given[port]
        return Called(flow if is_same else flow.led_by(called.value, self._users(step.node)), record)

    async def _each(self, step: Step, values: Mapping[str, Any], flow: Flow) -> Called:
        """Call a stage once for every chunk; several replicas share the chunks of one clip."""
        port, node, credits = step.deployment.contract.ways.clip_port or "", step.node, self._streaming.credits
        out = self._flows.get(node) or self._flow(node, flow.chunk_frames)
        flow.begin(node)
        await flow.get(0)
        call, count = self._walker.begin(step, values), await flow.count()
        out.announce(flow.frames)
        tally, records = Tally(call.on_progress, flow.frames), dict[int, StepRecord]()

        async def one(index: int) -> None:
            await out.room(index, credits)
            given = {**values, port: Pieces((await flow.get(index),))}
            tell = tally.teller(index, flow.span(index)[1])
            errand = Errand(is_piece=True)
            called = await self._walker.perform(replace(call, values=given, errand=errand, on_progress=tell))
            made = called.record.value.get("frames")
            if made != flow.span(index)[1]:
                raise InputLost(node, f"chunk {index} of {flow.span(index)[1]} frames came back with {made}")
            records[index] = called.record
            out.put(index, flow.frames, called.value)
            flow.release(index, node)

        try:
            await in_order(count, one, credits)
        except (NotReached, GreenlightError, asyncio.CancelledError) as error:
            if records:
                await self._walker.keep(Called(None, cut_short(list(records.values()), error)))
            raise
        finally:
            flow.end(node)
        record = merged([records[index] for index in range(count)])
        has_audio = any(each.value.get("has_audio") for each in records.values())
        facts = {**record.value, "frames": flow.frames, "has_audio": has_audio}
        done = Called(out, replace(record, value=facts, chunks=count))
        await self._walker.keep(done)
        return done
