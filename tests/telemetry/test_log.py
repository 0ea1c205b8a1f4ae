"""Log lines and the run they are about."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from serve_app.telemetry import log

LOGGER = logging.getLogger("greenlight.test")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    logger = logging.getLogger(log.ROOT)
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield io.StringIO()
    logger.handlers[:], logger.level, logger.propagate = before


def test_a_line_is_one_json_object_with_the_run_it_is_about(stream: io.StringIO) -> None:
    log.set_up("json", stream)
    with log.about("run-1"):
        LOGGER.warning('lost "%s"\nand more', "judge")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["level"], line["logger"], line["run_id"]) == ("WARNING", "greenlight.test", "run-1")
    assert line["message"] == 'lost "judge"\nand more'


def test_a_line_about_no_run_names_none(stream: io.StringIO) -> None:
    log.set_up("json", stream)
    LOGGER.warning("nothing to do")
    assert "run_id" not in json.loads(stream.getvalue())


def test_tasks_and_threads_of_two_runs_do_not_mix_them_up(stream: io.StringIO) -> None:
    log.set_up("json", stream)

    async def work(run_id: str) -> None:
        with log.about(run_id):
            await asyncio.sleep(0.01)
            await asyncio.to_thread(LOGGER.warning, run_id)

    async def both() -> None:
        await asyncio.gather(work("run-1"), work("run-2"))

    asyncio.run(both())
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2
    assert all(line["run_id"] == line["message"] for line in lines)


def test_setting_up_twice_writes_every_line_once(stream: io.StringIO) -> None:
    log.set_up("text", stream)
    log.set_up("text", stream)
    LOGGER.warning("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_an_error_has_its_trace_in_the_same_line(stream: io.StringIO) -> None:
    log.set_up("json", stream)
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        LOGGER.exception("failed")
    assert "ZeroDivisionError: by zero" in json.loads(stream.getvalue())["trace"]
