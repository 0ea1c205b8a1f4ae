"""Calling stages in this process: threads, cancellation, and what the loop's own threads are left for."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from serve_app.core.errors import Cancelled, StageFailed
from serve_app.graph.callers import Call, settled
from serve_app.graph.host import Signal
from serve_app.graph.record import Called
from tests.graph.stages import bright, in_process


def draft(seed: int, frames: int = 2, pause_s: float = 0.0) -> Call:
    bound = bright().bind({"seed": seed, "frames": frames, "pause_s": pause_s})
    step = next(step for step in bound.plan.steps if step.node == "draft")
    return Call(step, bound.params["draft"], {"seed": seed}, lambda done, of: None)


class Stubborn:
    """Work that looks at its signal only when it is let go."""

    def __init__(self) -> None:
        self.started, self.let_go, self.signal = threading.Event(), threading.Event(), Signal()

    def __call__(self) -> Called:
        self.started.set()
        self.let_go.wait(10)
        if self.signal.cancelled.is_set():
            raise Cancelled
        raise StageFailed("stubborn", "Error", "nobody cancelled it")


async def cancelled_twice(work: Stubborn) -> float:
    """Cancel a call two times, let its work go after that, and return for how long the call held out."""
    call = asyncio.create_task(settled(asyncio.ensure_future(asyncio.to_thread(work)), work.signal))
    await asyncio.to_thread(work.started.wait, 5)
    began = time.monotonic()
    for _ in range(2):
        call.cancel()
        await asyncio.sleep(0.1)
        assert not call.done(), "the device still works"
    work.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    return time.monotonic() - began


def test_a_call_ends_when_its_work_has_however_often_it_is_cancelled() -> None:
    assert asyncio.run(cancelled_twice(Stubborn())) >= 0.2


def test_as_many_calls_as_the_loop_has_threads_leave_the_store_one(tmp_path: Path) -> None:
    async def beat_meanwhile() -> float:
        caller = in_process(tmp_path)
        calls = [asyncio.create_task(caller.call(draft(seed, frames=4, pause_s=0.03))) for seed in range(40)]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await asyncio.to_thread(time.monotonic)
        waited_s = time.monotonic() - began
        await asyncio.gather(*calls)
        return waited_s

    assert asyncio.run(beat_meanwhile()) < 1.0


def test_a_stage_is_loaded_once_and_kept_for_the_next_event_loop(tmp_path: Path) -> None:
    caller = in_process(tmp_path)
    values = [asyncio.run(caller.call(draft(seed))).value for seed in (10, 200)]
    assert [int(clip.frames[0, 0, 0, 0]) for clip in values] == [10, 200]
    assert len(caller._hosts) == 1


def test_a_bulky_value_is_known_by_its_type() -> None:
    steps = {step.node: step for step in bright().steps}
    bound = bright().bind({"seed": 1})
    is_bulky = {node: Call(step, bound.params[node], {}, lambda d, o: None).is_bulky for node, step in steps.items()}
    assert is_bulky == {"draft": True, "judge": False, "sheet": False, "gate": True, "file": False}
