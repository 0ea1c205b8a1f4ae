"""Walking a plan in this process: order, gates, retries, cancellation, and what is not run at all."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from serve_app.core.errors import Cancelled, Rejected, StageFailed, Unavailable
from serve_app.graph.plan import Step
from serve_app.graph.record import Called
from serve_app.graph.run import Outcome, Rules, needed, standing, walk
from tests.graph.stages import Counting, bright, in_process, lose


class Notes:
    """A watcher that writes down what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step_started(self, step: Step) -> None:
        self.lines.append(f"started {step.node}")

    def step_progressed(self, step: Step, done: int, of: int) -> None:
        self.lines.append(f"progressed {step.node} {done}/{of}")

    def step_finished(self, step: Step, called: Called) -> None:
        self.lines.append(f"finished {step.node}")

    def step_retried(self, step: Step, error: Unavailable) -> None:
        self.lines.append(f"retried {step.node}")

    def step_rejected(self, step: Step, error: Rejected) -> None:
        self.lines.append(f"rejected {step.node}")


def run(root: Path, seed: int, rules: Rules | None = None, caller: Counting | None = None) -> tuple[Outcome, Notes]:
    """Walk the bright pipeline with a seed."""
    notes = Notes()
    bound = bright().bind({"seed": seed})
    outcome = asyncio.run(walk(bound, caller or Counting(in_process(root)), notes, rules or Rules()))
    return outcome, notes


def test_a_passed_gate_leads_to_every_output(tmp_path: Path) -> None:
    outcome, notes = run(tmp_path, seed=200)
    assert outcome.rejected is None
    assert set(outcome.done) == {"draft", "judge", "sheet", "gate", "file"}
    assert notes.lines.index("finished draft") < notes.lines.index("started judge")


def test_progress_counts_finished_steps_only(tmp_path: Path) -> None:
    _, notes = run(tmp_path, seed=200)
    assert [line for line in notes.lines if "draft" in line] == [
        "started draft",
        "progressed draft 1/2",
        "progressed draft 2/2",
        "finished draft",
    ]


def test_a_rejection_keeps_the_evidence_and_runs_nothing_behind_the_gate(tmp_path: Path) -> None:
    outcome, notes = run(tmp_path, seed=10)
    assert outcome.rejected is not None
    assert outcome.rejected.detector == "dark"
    assert set(outcome.done) == {"draft", "judge", "sheet"}
    assert "started file" not in notes.lines


def test_an_open_gate_hands_its_clip_on_and_still_says_that_it_objected(tmp_path: Path) -> None:
    outcome, notes = run(tmp_path, seed=10, rules=Rules(are_gates_enforced=False))
    assert set(outcome.done) == {"draft", "judge", "sheet", "gate", "file"}
    assert "rejected gate" in notes.lines


def test_what_is_known_is_not_run_again(tmp_path: Path) -> None:
    caller = Counting(in_process(tmp_path))
    first, _ = run(tmp_path, 200, caller=caller)
    known = {node: first.done[node] for node in ("sheet", "file", "judge")}
    outcome = asyncio.run(walk(bright().bind({"seed": 200}), caller, Notes(), Rules(), known))
    assert caller.calls == {"draft": 1, "judge": 1, "sheet": 1, "gate": 1, "file": 1}
    assert outcome.done.keys() == known.keys()


def test_a_known_score_saves_only_the_judge(tmp_path: Path) -> None:
    first, _ = run(tmp_path, 200)
    steps = needed(bright(), {"judge": first.done["judge"]})
    assert [step.node for step in steps if step.node == "judge"] == []
    assert {step.node for step in steps} == {"draft", "sheet", "gate", "file"}


def test_what_was_made_of_a_clip_that_must_be_made_again_no_longer_holds(tmp_path: Path) -> None:
    first, _ = run(tmp_path, 200)
    kept = {node: first.done[node] for node in ("sheet", "file", "judge")}
    assert standing(bright(), kept).keys() == kept.keys(), "nothing must run, so nothing else is made"
    assert standing(bright(), {"judge": kept["judge"], "sheet": kept["sheet"]}) == {}
    with_clip = {"draft": first.done["draft"], "judge": kept["judge"]}
    assert standing(bright(), with_clip).keys() == with_clip.keys()


def test_a_clip_that_is_made_again_is_judged_again(tmp_path: Path) -> None:
    passed, _ = run(tmp_path, 200)
    outcome = asyncio.run(
        walk(bright().bind({"seed": 10}), in_process(tmp_path), Notes(), Rules(), {"judge": passed.done["judge"]})
    )
    assert outcome.rejected is not None


def test_a_lost_replica_is_called_again(tmp_path: Path) -> None:
    caller = Counting(in_process(tmp_path), lose("judge", times=2))
    outcome, notes = run(tmp_path, 200, Rules(backoff_s=0.01), caller)
    assert outcome.rejected is None
    assert notes.lines.count("retried judge") == 2


def test_a_replica_that_stays_lost_ends_the_walk(tmp_path: Path) -> None:
    caller = Counting(in_process(tmp_path), lose("judge", times=99))
    with pytest.raises(Unavailable):
        run(tmp_path, 200, Rules(step_retries=2, backoff_s=0.01), caller)
    assert caller.calls["judge"] == 3


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_a_stage_that_breaks_ends_the_walk_with_its_name(tmp_path: Path) -> None:
    bound = bright().bind({"seed": 200, "frames": 0})  # an empty clip has no first pixel, and no mean
    with pytest.raises(StageFailed, match=r"dump ended with IndexError|brightness ended with ValueError"):
        asyncio.run(walk(bound, in_process(tmp_path), Notes(), Rules()))


def test_cancelling_the_walk_stops_the_stage_at_its_next_step_and_waits_for_it(tmp_path: Path) -> None:
    notes = Notes()

    async def cancel_soon() -> float:
        bound = bright().bind({"seed": 200, "frames": 100, "pause_s": 0.05})
        walking = asyncio.create_task(walk(bound, in_process(tmp_path), notes, Rules()))
        while "progressed draft 2/100" not in notes.lines:
            await asyncio.sleep(0.01)
        walking.cancel()
        began = time.perf_counter()
        with pytest.raises(asyncio.CancelledError):
            await walking
        return time.perf_counter() - began

    assert asyncio.run(cancel_soon()) < 2.0
    assert len([line for line in notes.lines if line.startswith("progressed")]) < 10


def test_cancelled_is_an_error_of_ours() -> None:
    assert str(Cancelled()) == "the run was cancelled"
