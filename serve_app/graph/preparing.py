"""Preparing ahead: what a step can learn from the request is learnt while the steps before it still work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from serve_app.core.errors import GreenlightError
from serve_app.graph.callers import Call, Caller
from serve_app.graph.plan import Bound, Step


class Preparing:
    """The preparations of one walk, going on beside it. ``steps`` are those that will run, ``known`` those that did.

    Best effort: an error of one ends nothing, and is a warning in the record of its step.
    """

    def __init__(self, bound: Bound, caller: Caller, steps: Iterable[Step], known: Iterable[str]) -> None:
        done = set(known)
        self._tasks = {
            step.node: asyncio.create_task(caller.prepare(call), name=f"prepare {step.node}")
            for step in steps
            if set(step.needs) - done and (call := call_of(step, bound)) is not None
        }

    def warnings(self, node: str) -> tuple[str, ...]:
        """Return what is to be said of a step's preparation, if it has failed by now."""
        task = self._tasks.get(node)
        if task is None or not task.done() or task.cancelled():
            return ()
        error = task.exception()
        if error is not None and not isinstance(error, GreenlightError):
            raise error
        return () if error is None else (f"preparing ahead failed, which costs time alone: {error}",)

    async def stop(self) -> None:
        """Wait for no preparation any longer."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def call_of(step: Step, bound: Bound) -> Call | None:
    """Return the call that prepares ``step``; None where it has nothing to prepare, or a port's value must be made."""
    ports = step.deployment.contract.prepares
    if ports is None:
        return None
    values: Mapping[str, Any] = {
        port: bound.inputs[step.takes[port].name]
        for port in ports
        if port in step.takes and step.takes[port].is_input and bound.inputs[step.takes[port].name] is not None
    }
    if len(values) != len(ports):
        return None
    return Call(step, bound.params[step.node], values, lambda done, of: None)
