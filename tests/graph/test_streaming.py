"""Walking in chunks: the same results as with whole clips; gates, losses, cancellation, and what is held."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from serve_app.core.errors import InputLost, Rejected, StageFailed, Unavailable
from serve_app.core.media import Clip
from serve_app.graph.callers import Call, Caller
from serve_app.graph.flow import Flow, Streaming
from serve_app.graph.plan import Bound, Plan, Step
from serve_app.graph.record import Called, Resources, StepRecord
from serve_app.graph.relay import Relay
from serve_app.graph.run import Outcome, Rules, walk
from tests.graph.chunked import Level, in_process, numbers_in, plan
from tests.graph.test_run import Notes


@pytest.fixture(autouse=True)
def quick_judge() -> Iterator[None]:
    """Let the slow judge judge at once, unless a test holds it."""
    Level.gate.set()
    yield
    Level.gate.set()


class Log:
    """A caller that writes down every call's node and errand, and may do something before one or to its value."""

    def __init__(self, inner: Caller) -> None:
        self.inner, self.lines = inner, list[str]()
        self.kept: list[Called] = []

    async def call(self, call: Call) -> Called:
        self.lines.append(f"{call.step.node} {call.errand.kind}")
        return await self.inner.call(call)

    async def prepare(self, call: Call) -> None:
        await self.inner.prepare(call)

    async def keep(self, called: Called) -> None:
        self.kept.append(called)


def run(
    root: Path, chunk_frames: int | None, given: Plan | None = None, caller: Any = None, **inputs: Any
) -> tuple[Outcome, Log]:
    """Walk the chunked pipeline."""
    log = caller or Log(in_process(root))
    rules = Rules(streaming=Streaming(chunk_frames, 2), backoff_s=0.01)
    bound = (given or plan()).bind({"seed": 0, **inputs})
    return asyncio.run(walk(bound, log, Notes(), rules, {}, log.keep)), log


@pytest.mark.parametrize("frames", [1, 2, 3, 8, 9, 17, 25])
@pytest.mark.parametrize("chunk_frames", [None, 2, 3, 4, 8, 100])
def test_every_size_of_chunk_gives_the_same_results_in_order(
    tmp_path: Path, frames: int, chunk_frames: int | None
) -> None:
    outcome, _ = run(tmp_path, chunk_frames, frames=frames)
    artifact = outcome.done["file"].value
    assert numbers_in(tmp_path, artifact) == [100 + number for number in range(frames)]
    assert artifact.facts["sound"], "the sound rides with a chunk"
    assert outcome.done["judge"].value.measures == {"steps": frames - 1.0}


@pytest.mark.parametrize(("frames", "sizes"), [(8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (1, [1]), (5, [5])])
def test_what_is_left_over_is_a_chunk_of_its_own_from_half_a_chunk_on(
    tmp_path: Path, frames: int, sizes: list[int]
) -> None:
    outcome, _ = run(tmp_path, 4, frames=frames)
    assert outcome.done["file"].value.facts["sizes"] == sizes


def test_a_step_is_one_record_with_the_number_of_its_chunks(tmp_path: Path) -> None:
    outcome, log = run(tmp_path, 4, frames=9)
    records = {node: called.record for node, called in outcome.done.items()}
    assert {node: record.chunks for node, record in records.items()} == {
        "draft": 2, "judge": 2, "gate": 2, "add": 2, "final_judge": 0, "final_gate": 2, "file": 2,
    }  # fmt: skip
    assert sorted(called.record.node for called in log.kept) == ["add", "file", "final_gate", "gate", "judge"]
    assert records["draft"].value["frames"] == records["add"].value["frames"] == records["gate"].value["frames"] == 9
    assert records["add"].value["has_audio"]
    assert records["add"].notes == {"added": 100}
    assert records["file"].seconds > 0


def test_judging_starts_with_the_first_chunk(tmp_path: Path) -> None:
    began: list[int] = []

    class Watching(Log):
        async def call(self, call: Call) -> Called:
            if call.errand.kind == "part" and call.step.node == "judge":
                began.append(call.errand.first)
            if call.errand.kind != "stream":
                return await super().call(call)
            called = await super().call(call)
            while not began:  # the draft is not finished before its judge has begun
                await asyncio.sleep(0.005)
            return called

    run(tmp_path, 3, caller=Watching(in_process(tmp_path)), frames=9)
    assert began[0] == 0


def test_nothing_but_parts_runs_ahead_of_a_verdict(tmp_path: Path) -> None:
    flat = {"use": "flat", "with": {"frames": "$frames"}}  # no step at all: the judge fails it
    outcome, log = run(tmp_path, 2, plan(draft=flat), frames=9)
    assert outcome.rejected is not None
    assert outcome.rejected.detector == "steps"
    assert not [line for line in log.lines if line.startswith(("add", "final", "file"))]


def test_parts_that_ran_ahead_of_a_rejection_are_thrown_away_and_accounted_for(tmp_path: Path) -> None:
    Level.gate.clear()

    class Releasing(Log):
        async def call(self, call: Call) -> Called:
            called = await super().call(call)
            if call.step.node == "file" and call.errand.first + 3 >= call.errand.of:
                Level.gate.set()  # the judge comes to its verdict when the last part has been encoded
            return called

    given = plan(add={"use": "boomerang"})  # ... which is "too dark": nothing was added
    outcome, log = run(tmp_path, 3, given, Releasing(in_process(tmp_path)), frames=5)
    assert outcome.rejected is not None
    assert outcome.rejected.detector == "level"
    assert log.lines.count("file part") == 3, "five frames, and four back"
    assert "file gather" not in log.lines
    assert "file" not in outcome.done
    (thrown,) = [called for called in log.kept if called.record.node == "file"]
    assert (thrown.value, thrown.record.ended, thrown.record.chunks) == (None, "rejected", 3)


def test_a_first_frame_that_a_gate_replaces_is_in_the_file_though_its_part_had_run_ahead(tmp_path: Path) -> None:
    Level.gate.clear()

    class Releasing(Log):
        async def call(self, call: Call) -> Called:
            called = await super().call(call)
            if self.lines.count("file part") == 3:
                Level.gate.set()
            return called

    given = plan(final_gate={"use": "pass", "with": {"first": 7}})
    outcome, log = run(tmp_path, 3, given, Releasing(in_process(tmp_path)), frames=9)
    assert numbers_in(tmp_path, outcome.done["file"].value) == [7, *range(101, 109)]
    assert log.lines.count("file part") == 4, "the first part is made again, and no other"


class Racing:
    """A walk in which `file` begins, ahead of a gate that replaces the first chunk, while that is remembered."""

    def __init__(self, bound: Bound) -> None:
        self.bound, self.flow = bound, Flow("", 1, (), (), False)

    def prepared(self, step: Step, values: Mapping[str, Any]) -> Call:
        return Call(step, self.bound.params[step.node], values, lambda done, of: None)

    begin = prepared

    async def perform(self, call: Call, may_repeat: Callable[[], bool] = lambda: True) -> Called:
        return Called("replaced", StepRecord(call.step.node, "pass", "pass", 0.0, 0.0, 0.0, Resources(), {}))

    async def value_of(self, node: str) -> Any:
        raise NotImplementedError

    def is_done(self, node: str) -> bool:
        return False

    async def keep(self, called: Called) -> None:
        await asyncio.sleep(0)
        self.flow.begin("file")


def test_a_first_frame_is_still_there_for_a_folder_that_begins_while_the_one_in_its_place_is_remembered() -> None:
    async def race() -> Any:
        bound = plan().bind({"seed": 0})
        steps = {step.node: step for step in bound.plan.steps}
        walker = Racing(bound)
        relay = Relay(walker, bound, bound.plan.steps, {}, Streaming(2, 2))
        flow = relay.early(steps["file"], "clip")
        assert flow is not None
        walker.flow = flow
        flow.put(0, 2, "first")
        flow.end("final_judge")
        passed = await relay.work(steps["final_gate"], {"clip": flow})
        return await flow.get(0), await passed.value.get(0)

    assert asyncio.run(race()) == ("first", "replaced")


def test_a_first_frame_replaced_before_the_upscaler_reaches_it(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, 2, plan(gate={"use": "pass", "with": {"first": 50}}), frames=9)
    assert numbers_in(tmp_path, outcome.done["file"].value) == [150, *range(101, 109)]


def test_a_stage_that_knows_nothing_of_chunks_gets_and_gives_whole_clips(tmp_path: Path) -> None:
    boomerang = {"use": "boomerang", "take": {"clip": "gate"}}
    outcome, _ = run(tmp_path, 2, plan(back=boomerang, add={"use": "add", "take": {"clip": "back"}}), frames=5)
    assert numbers_in(tmp_path, outcome.done["file"].value) == [100, 101, 102, 103, 104, 103, 102, 101, 100]


def test_a_lost_chunk_is_called_again_and_no_other(tmp_path: Path) -> None:
    class Losing(Log):
        async def call(self, call: Call) -> Called:
            if self.lines.count("add run") == 1 and call.step.node == "add":
                self.lines.append("add run")
                raise Unavailable("add", "its replica died")
            return await super().call(call)

    outcome, log = run(tmp_path, 3, caller=Losing(in_process(tmp_path)), frames=9)
    assert numbers_in(tmp_path, outcome.done["file"].value) == list(range(100, 109))
    assert log.lines.count("add run") == 4


def test_a_generator_lost_before_its_first_chunk_is_called_again(tmp_path: Path) -> None:
    class Losing(Log):
        async def call(self, call: Call) -> Called:
            if call.step.node == "draft" and not self.lines:
                self.lines.append("lost")
                raise Unavailable("draft", "its replica died")
            return await super().call(call)

    outcome, log = run(tmp_path, 3, caller=Losing(in_process(tmp_path)), frames=9)
    assert log.lines.count("draft stream") == 1
    assert outcome.rejected is None


def test_a_generator_lost_in_mid_stream_is_not_continued_by_another(tmp_path: Path) -> None:
    """Another device may make another clip of the same seed; half of each would be neither."""

    class Losing(Log):
        async def call(self, call: Call) -> Called:
            called = await super().call(call)
            if call.step.node == "draft":
                raise Unavailable("draft", "its replica died after its first chunks")
            return called

    with pytest.raises(InputLost, match="broke off"):
        run(tmp_path, 3, caller=Losing(in_process(tmp_path)), frames=9)


def test_a_chunk_that_never_came_ends_the_walk_as_a_lost_input(tmp_path: Path) -> None:
    class Dropping(Log):
        async def call(self, call: Call) -> Called:
            if call.errand.kind == "stream":
                keep = call.on_chunk
                object.__setattr__(call, "on_chunk", lambda i, n, v: None if i == 1 else keep(i, n, v))
            return await super().call(call)

    with pytest.raises(InputLost, match="never came"):
        run(tmp_path, 3, caller=Dropping(in_process(tmp_path)), frames=9)


def test_cancelling_between_chunks_ends_everything(tmp_path: Path) -> None:
    async def cancel() -> list[str]:
        Level.gate.clear()
        log = Log(in_process(tmp_path))
        rules = Rules(streaming=Streaming(2, 2))
        walking = asyncio.create_task(walk(plan().bind({"seed": 0, "frames": 9}), log, Notes(), rules))
        while "file part" not in log.lines:
            await asyncio.sleep(0.005)
        Level.gate.set()
        walking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await walking
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if not task.done()]
        return log.lines

    assert "file gather" not in asyncio.run(cancel())


class Weighing(Log):
    """Counts the chunks of `add` that somebody still holds, after every call."""

    def __init__(self, inner: Caller) -> None:
        super().__init__(inner)
        self.made: list[weakref.ref[Clip]] = []
        self.most = 0

    async def call(self, call: Call) -> Called:
        called = await super().call(call)
        if call.step.node == "add":
            self.made.append(weakref.ref(_weighable(called)))
        self.most = max(self.most, sum(ref() is not None for ref in self.made))
        return called


def _weighable(called: Called) -> Clip:
    clip: Clip = called.value
    return clip


def test_chunks_are_let_go_of_when_their_last_user_is_done(tmp_path: Path) -> None:
    """With a judge that folds, like the encoder, at most the credits are held, however long the clip is."""
    judge = {"use": "steps", "take": {"clip": "add"}}
    caller = Weighing(in_process(tmp_path))
    outcome, _ = run(tmp_path, 2, plan(final_judge=judge), caller, frames=62)
    assert len(caller.made) == 31
    assert caller.most <= 6, "two credits, two under way, the gate's first chunk, and the one before the judge's"
    assert isinstance(outcome.done["add"].value, Flow)
    assert not outcome.done["add"].value.is_whole


def test_a_whole_clip_that_is_wanted_holds_all_chunks_and_blocks_nobody(tmp_path: Path) -> None:
    caller = Weighing(in_process(tmp_path))
    outcome, _ = run(tmp_path, 2, None, caller, frames=32)
    assert outcome.rejected is None
    assert caller.most == 16


def test_kept_chunks_are_walked_on_from(tmp_path: Path) -> None:
    async def twice() -> tuple[Outcome, Outcome, Log]:
        log = Log(in_process(tmp_path))
        bound = plan(final_judge={"use": "level"}, add={"use": "boomerang"}).bind({"seed": 0, "frames": 5})
        rules = Rules(streaming=Streaming(2, 2, is_kept=True))
        first = await walk(bound, log, Notes(), rules)
        log.lines.clear()
        again = Rules(are_gates_enforced=False, streaming=Streaming(2, 2, is_kept=True))
        return first, await walk(bound, log, Notes(), again, first.done), log

    first, second, log = asyncio.run(twice())
    assert first.rejected is not None
    assert numbers_in(tmp_path, second.done["file"].value) == [0, 1, 2, 3, 4, 3, 2, 1, 0]
    assert not [line for line in log.lines if line.startswith(("draft", "add", "judge"))]


def test_chunks_that_were_let_go_of_are_made_again(tmp_path: Path) -> None:
    async def twice() -> tuple[Outcome, Log]:
        log = Log(in_process(tmp_path))
        bound = plan().bind({"seed": 0, "frames": 9})
        rules = Rules(streaming=Streaming(2, 2))
        first = await walk(bound, log, Notes(), rules)
        known = {node: called for node, called in first.done.items() if node != "file"}
        return await walk(bound, log, Notes(), rules, known), log

    second, _ = asyncio.run(twice())
    assert numbers_in(tmp_path, second.done["file"].value) == list(range(100, 109))


def test_progress_is_counted_over_all_chunks(tmp_path: Path) -> None:
    notes = Notes()
    rules = Rules(streaming=Streaming(4, 2))
    asyncio.run(walk(plan().bind({"seed": 0, "frames": 9}), in_process(tmp_path), notes, rules))
    told = [line for line in notes.lines if line.startswith("progressed add")]
    assert told[-1] == "progressed add 9/9"
    assert notes.lines.index("started add") > notes.lines.index("finished gate")
    assert notes.lines.index("started file") > notes.lines.index("finished final_gate")


def test_as_many_chunks_are_at_work_as_there_are_credits(tmp_path: Path) -> None:
    """So that two replicas share the chunks of one clip."""

    class Together(Log):
        at_work, most = 0, 0

        async def call(self, call: Call) -> Called:
            if call.step.node != "add":
                return await super().call(call)
            self.at_work += 1
            self.most = max(self.most, self.at_work)
            await asyncio.sleep(0.005)
            called = await super().call(call)
            self.at_work -= 1
            return called

    caller = Together(in_process(tmp_path))
    outcome, _ = run(tmp_path, 2, caller=caller, frames=16)
    assert numbers_in(tmp_path, outcome.done["file"].value) == list(range(100, 116))
    assert caller.most == 2


def test_a_stage_that_gives_up_leaves_nobody_waiting_for_its_clip(tmp_path: Path) -> None:
    class Hopeless(Log):
        async def call(self, call: Call) -> Called:
            if call.step.node == "draft":
                raise Rejected("hope", 0, 0.0, "it is no use")
            return await super().call(call)

    outcome, log = run(tmp_path, 2, caller=Hopeless(in_process(tmp_path)))
    assert outcome.rejected is not None
    assert outcome.rejected.detector == "hope"
    assert log.lines == []


def test_pieces_that_were_done_of_a_step_that_failed_are_accounted_for(tmp_path: Path) -> None:
    class Failing(Log):
        async def call(self, call: Call) -> Called:
            if call.step.node == "add" and self.lines.count("add run") == 2:
                raise StageFailed("add", "Error", "the third chunk is bad")
            return await super().call(call)

    caller = Failing(in_process(tmp_path))
    with pytest.raises(StageFailed, match="third chunk"):
        run(tmp_path, 2, caller=caller, frames=12)
    (record,) = [called.record for called in caller.kept if called.record.node == "add"]
    assert (record.ended, record.chunks) == ("stage_failed", 2)
