"""A demo that does not come to its end: Ctrl-C, a signal, a port that is taken, a server that falls over."""

import os
import pty
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.commands import demo as command
from serve_app.commands.client import Client
from tests.demo.newcomer import ADDRESS, GREENLIGHT, LONGEST_S, SERVE, Watch, is_listening, watched

ROOT = Path(__file__).parents[2]
HALF_WAY = re.compile(r"upscale +━[^\r\n]* (\d+)/49 ")
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """The screen side of a pseudo-terminal."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        self._raw = ""

    @property
    def shown(self) -> str:
        """Everything that has been shown so far, without colours and cursor moves."""
        return COLOURS.sub("", self._raw)

    def read_until(self, is_enough: Callable[[str], bool], watch: Watch) -> None:
        """Read what is shown until it is enough, looking on all the while."""
        deadline = time.monotonic() + LONGEST_S
        os.set_blocking(self._master, False)
        while not is_enough(self.shown):
            watch.look()
            assert watch.process.poll() is None, self.shown
            assert time.monotonic() < deadline, self.shown
            try:
                self._raw += os.read(self._master, 1 << 16).decode("utf-8", "replace")
            except BlockingIOError:
                time.sleep(0.05)

    def finish(self) -> None:
        """Read what is left."""
        try:
            while text := os.read(self._master, 1 << 16):
                self._raw += text.decode("utf-8", "replace")
        except OSError:  # how a terminal without writers ends, or has nothing for now
            return

    def close(self) -> None:
        """Give it back."""
        os.close(self._master)
        os.close(self.slave)


def half_way(shown: str) -> bool:
    """Whether the enlarging bar has moved, and is not yet full."""
    return any(0 < int(done) < 49 for done in HALF_WAY.findall(shown))


def test_bars_move_on_a_terminal_and_ctrl_c_cancels_and_cleans_up(tmp_path: Path) -> None:
    terminal = Terminal()
    arguments = ["demo", "--out", str(tmp_path / "out"), "--log", str(tmp_path / "demo.log")]
    with watched([GREENLIGHT, *arguments], tmp_path, terminal.slave) as watch:
        terminal.read_until(half_way, watch)
        watch.process.send_signal(signal.SIGINT)
        status = watch.wait()
        terminal.finish()
        assert watch.left() == []
    terminal.close()
    for step in ("draft", "judge", "gate", "upscale"):
        assert re.search(rf"{step} [^\r\n]*━", terminal.shown), f"no bar of {step}"
    assert "cancelled" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert status == 130
    assert not (tmp_path / "out").exists()
    assert not is_listening()


def test_a_signal_while_it_starts_takes_the_server_along(tmp_path: Path) -> None:
    with watched([GREENLIGHT, "demo", "--log", str(tmp_path / "demo.log")], tmp_path, subprocess.DEVNULL) as watch:
        deadline = time.monotonic() + LONGEST_S
        while not any("raylet" in process.name() for process in watch.seen if process.is_running()):
            assert time.monotonic() < deadline
            watch.look()
            time.sleep(0.1)
        watch.process.terminate()
        assert watch.wait() == 128 + signal.SIGTERM
        assert watch.left() == []
    assert not is_listening()


def test_a_port_in_use_is_said_at_once_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(ADDRESS):
        done = subprocess.run(
            [GREENLIGHT, "demo"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.startswith("greenlight: 127.0.0.1:8000: something serves there already; ")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_falls_over_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    with subprocess.Popen(["false"]) as process:
        process.wait()
        client = Client("http://{}:{}".format(*ADDRESS))
        with pytest.raises(command.NotStarted, match=re.escape(f"it ended with status 1; see {log}")):
            command._wait_until_ready(client, process, log)
        client.close()


def test_the_profile_serves_on_its_own_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    profile = str(ROOT / "serve_app" / "profiles" / "demo.yaml")
    client = Client("http://{}:{}".format(*ADDRESS))
    with watched([SERVE, "run", "--address", "local", profile], tmp_path, subprocess.DEVNULL) as watch:
        deadline = time.monotonic() + LONGEST_S
        while not client.is_ready():
            assert watch.process.poll() is None
            assert time.monotonic() < deadline
            watch.look()
            time.sleep(0.2)
        client.close()
        watch.process.send_signal(signal.SIGINT)
        assert watch.wait() == 0
        assert watch.left() == []
    assert not is_listening()
