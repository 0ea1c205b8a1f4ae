"""Hosting one stage: its turn, its desk, its uploads, and what becomes of its errors."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from serve_app.artifacts.local import LocalArtifacts
from serve_app.core.artifact import Artifact
from serve_app.core.errors import Cancelled, InvalidPicture, OutOfMemory, StageFailed, Unknown
from serve_app.core.media import Image
from serve_app.core.score import Score
from serve_app.core.stage import Context, Strict
from serve_app.graph.host import Host, Place, Signal
from serve_app.graph.plan import deployment_of
from serve_app.graph.record import Called, Charge, Resources, StepRecord


class Nothing(Strict):
    """No fields."""


class OutOfMemoryError(RuntimeError):
    """Called as torch calls its own."""


class Odd:
    """Does one thing or another, as its param says."""

    Weights = Nothing

    class Params(Strict):
        does: str = "score"
        points: float = 1.0

    def load(self, weights: Nothing, context: Context) -> None:
        self._context = context
        self.started, self.go_on = threading.Event(), threading.Event()
        self.at_once = self.most_at_once = 0

    def run(self, params: Params, *, word: str = "", image: Image | None = None, file: Artifact | None = None) -> Score:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self._do(params, image, file)
        finally:
            self.at_once -= 1

    def _do(self, params: Params, image: Image | None, file: Artifact | None) -> Score:
        match params.does:
            case "wait":
                self.started.set()
                while not self.go_on.wait(0.01):
                    self._context.check()
            case "note":
                self._context.note("level", 3)
                self._context.warn("careful")
                self._context.warn("careful")
            case "charge":
                self._context.charge(0.25, "a clip")
                self._context.charge(None, "another")
            case "overcharge":
                self._context.charge(-1.0, "a clip")
            case "note nan":
                self._context.note("level", float("nan"))
            case "lie":
                return "not a score"  # type: ignore[return-value]
            case "fail":
                raise ZeroDivisionError("by zero")
            case "torch":
                raise OutOfMemoryError("CUDA out of memory")
            case "memory":
                raise MemoryError
            case "look":
                assert isinstance(image, Image)
                assert isinstance(file, Artifact)
        return Score("odd", params.points, "fine", ())


class Unloadable(Odd):
    """Its weights do not fit."""

    Params = Odd.Params

    def load(self, weights: Nothing, context: Context) -> None:
        raise OutOfMemoryError("CUDA out of memory")


def place(root: Path) -> Place:
    return Place("cpu", 1, Resources(), LocalArtifacts(root / "artifacts"), root / "scratch")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(deployment_of("odd", "test.odd", Odd, {}), place(tmp_path))


def call(host: Host, does: str = "score", signal: Signal | None = None, **values: Any) -> Called:
    return host.call("node", Odd.Params(does=does), values, signal or Signal())


def stage(host: Host) -> Odd:
    found = host._stage
    assert isinstance(found, Odd)
    return found


def test_one_call_works_at_a_time_and_the_next_says_how_long_it_waited(host: Host) -> None:
    with ThreadPoolExecutor(4) as pool:
        first: Future[Called] = pool.submit(call, host, "wait")
        assert stage(host).started.wait(5)
        others = [pool.submit(call, host) for _ in range(3)]
        time.sleep(0.2)
        assert not any(other.done() for other in others)
        stage(host).go_on.set()
        assert first.result(5).record.waited_s < 0.1
        assert all(other.result(5).record.waited_s > 0.1 for other in others)
    assert stage(host).most_at_once == 1


def test_a_call_that_waits_for_its_turn_can_be_cancelled_and_leaves_the_one_at_work_alone(host: Host) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(call, host, "wait")
        assert stage(host).started.wait(5)
        signal = Signal()
        second = pool.submit(call, host, "score", signal)
        signal.cancelled.set()
        with pytest.raises(Cancelled):
            second.result(5)
        assert not first.done()
        stage(host).go_on.set()
        assert first.result(5).record.node == "node"


def test_a_call_at_work_is_cancelled_at_its_next_step_and_the_host_goes_on(host: Host) -> None:
    signal = Signal()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(call, host, "wait", signal)
        assert stage(host).started.wait(5)
        signal.cancelled.set()
        with pytest.raises(Cancelled):
            working.result(5)
    assert call(host).value.points == 1.0


def test_notes_and_warnings_belong_to_one_call(host: Host) -> None:
    first = call(host, "note").record
    assert (first.notes, first.warnings) == ({"level": 3}, ("careful",))
    second = call(host).record
    assert (second.notes, second.warnings) == ({}, ())


def test_the_record_has_the_params_in_effect_and_the_value_in_brief(host: Host) -> None:
    record = call(host).record
    assert record.params == {"does": "score", "points": 1.0}
    assert record.value["type"] == "score"
    assert (record.stage, record.deployment) == ("test.odd", "odd")
    assert record.seconds >= 0


def test_another_type_than_promised_is_the_stages_failure(host: Host) -> None:
    with pytest.raises(StageFailed, match=r"test\.odd ended with TypeError: promised Score, returned str"):
        call(host, "lie")


def test_a_foreign_error_carries_the_stages_name(host: Host) -> None:
    with pytest.raises(StageFailed, match=r"test\.odd ended with ZeroDivisionError: by zero"):
        call(host, "fail")


@pytest.mark.parametrize("does", ["torch", "memory"])
def test_what_did_not_fit_is_out_of_memory_and_names_the_device(host: Host, does: str) -> None:
    with pytest.raises(OutOfMemory, match="odd does not fit on cpu"):
        call(host, does)
    assert call(host).value.points == 1.0, "and the host goes on"


def test_weights_that_do_not_fit_are_out_of_memory_too(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="odd does not fit on cpu"):
        Host(deployment_of("odd", "test.odd", Unloadable, {}), place(tmp_path))


def test_a_number_that_no_report_can_say_is_the_stages_failure(host: Host) -> None:
    with pytest.raises(StageFailed, match=r"test\.odd ended with ValueError: Out of range float"):
        call(host, "note nan")
    with pytest.raises(StageFailed, match=r"test\.odd ended with ValueError: Out of range float"):
        host.call("node", Odd.Params(points=float("inf")), {}, Signal())


def test_an_upload_is_opened_for_an_image_port_and_for_no_other(tmp_path: Path, host: Host) -> None:
    data = io.BytesIO()
    PIL.Image.new("RGB", (4, 3)).save(data, "PNG")
    upload = place(tmp_path).artifacts.put_bytes(data.getvalue(), "image/png", "upload.png", {})
    call(host, "look", image=upload, file=upload)


def test_an_upload_that_is_no_picture_names_its_port(tmp_path: Path, host: Host) -> None:
    upload = place(tmp_path).artifacts.put_bytes(b"GIF89a", "image/png", "upload.png", {})
    with pytest.raises(InvalidPicture) as caught:
        call(host, image=upload)
    assert caught.value.field == "image"


def test_an_upload_that_is_gone_is_unknown(host: Host) -> None:
    with pytest.raises(Unknown, match="artifact"):
        call(host, image=Artifact("0" * 64, "image/png", 1, "upload.png"))


def test_what_a_stage_was_charged_is_in_its_record_and_told_at_once(host: Host) -> None:
    told: list[Charge] = []
    called = call(host, "charge", Signal(on_charge=told.append))
    assert called.record.charges == (Charge(0.25, "a clip"), Charge(None, "another"))
    assert tuple(told) == called.record.charges
    assert StepRecord.from_json(called.record.as_json()) == called.record
    assert call(host).record.charges == (), "the next call starts anew"


def test_a_charge_below_nothing_is_the_stages_failure(host: Host) -> None:
    with pytest.raises(StageFailed, match="a clip costs 0 USD or more, not -1"):
        call(host, "overcharge")


def test_what_a_stage_holds_is_told_when_its_turn_has_come(host: Host) -> None:
    told: list[Resources] = []
    call(host, signal=Signal(on_start=told.append))
    assert told == [Resources()]
