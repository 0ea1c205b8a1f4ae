"""What survives a kill: real processes on a SQLite file and on PostgreSQL, with the real clock."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import IO

import pytest

from serve_app.runs.model import RunState
from serve_app.runs.sql import SqlRunStore
from tests.runs.test_store import ask

_HOLD = """
import sys, time
from serve_app.runs.model import RunRequest
from serve_app.runs.sql import SqlRunStore
store = SqlRunStore(sys.argv[1])
store.add(RunRequest("one", "demo", {}, {}), 10)
assert store.claim("doomed", 1.0, 3)
store.append("one", "step", {})
store.remember("one", 1, "draft", {"digest": "a"})
print("held", flush=True)
time.sleep(60)
"""

_APPEND = """
import sys
from serve_app.runs.sql import SqlRunStore
store = SqlRunStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    store.append("one", "step", {"by": sys.argv[2], "n": number})
store.close()
"""

_OPEN = """
import sys
from serve_app.runs.sql import SqlRunStore
SqlRunStore(sys.argv[1]).close()
"""


def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def _close(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def test_what_a_killed_process_recorded_is_there_and_another_takes_over_when_its_lease_ends(url: str) -> None:
    holder = _start(_HOLD, url)
    assert _line(holder.stdout) == "held"
    holder.kill()
    holder.wait()
    _close(holder)
    store = SqlRunStore(url)
    assert store.get("one").state is RunState.RUNNING
    until_s = time.time() + 10
    while (run := store.claim("heir", 10, 3)) is None and time.time() < until_s:
        time.sleep(0.05)
    assert run is not None
    assert (run.owner, run.claims) == ("heir", 2)
    assert store.recall("one") == {(1, "draft"): {"digest": "a"}}
    assert store.append("one", "step", {}) == 2
    store.close()


def test_two_processes_that_append_to_one_run_leave_no_gap(url: str) -> None:
    store = SqlRunStore(url)
    store.add(ask("one"), max_queued=1)
    writers = [_start(_APPEND, url, name) for name in ("a", "b")]
    assert [_line(writer.stdout) for writer in writers] == ["ready", "ready"]
    for writer in writers:
        writer.communicate("go\n", timeout=60)
    events = store.events("one")
    store.close()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [event.seq for event in events] == list(range(1, 101))
    for name in ("a", "b"):
        assert [event.data["n"] for event in events if event.data["by"] == name] == list(range(50))


@pytest.mark.parametrize("count", [4])
def test_processes_that_open_an_empty_store_at_once_all_succeed(url: str, count: int) -> None:
    openers = [_start(_OPEN, url) for _ in range(count)]
    for opener in openers:
        opener.communicate(timeout=60)
    assert [opener.returncode for opener in openers] == [0] * count
