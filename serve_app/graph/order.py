"""Doing things one after another, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


async def in_order(count: int, work: Callable[[int], Coroutine[Any, Any, None]], at_once: int) -> None:
    """Begin ``work(0)`` to ``work(count - 1)`` in that order, at most ``at_once`` at a time, and wait for all.

    The first error, or cancellation, stops those under way, and is passed on when they have stopped.
    """
    running: set[asyncio.Task[None]] = set()
    try:
        for index in range(count):
            if len(running) == at_once:
                await _some(running)
            running.add(asyncio.create_task(work(index)))
        while running:
            await _some(running)
    finally:
        await stop(running)


async def _some(running: set[asyncio.Task[None]]) -> None:
    """Wait until some have finished and leave the others in ``running``; raise the error of one that failed."""
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    done = [task for task in running if task.done()]
    errors = [error for task in done if (error := task.exception()) is not None]
    running.difference_update(done)
    if errors:
        raise errors[0]


async def both(work: Awaitable[None], verdict: Awaitable[Any] | None) -> Any:
    """Wait for ``work`` and ``verdict``, and return what the latter gives; the first error of either stops both."""
    tasks = [asyncio.ensure_future(each) for each in (work, verdict) if each is not None]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for task in done if (error := task.exception()) is not None]
        if errors:
            raise errors[0]
        return tasks[-1].result()
    finally:
        await stop(tasks)


async def stop(tasks: Any) -> None:
    """Cancel what still runs and wait for it."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
