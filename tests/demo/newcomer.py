"""A newcomer at the command line: runs `greenlight`, and keeps an eye on every process that this starts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

GREENLIGHT = str(Path(sys.executable).parent / "greenlight")
SERVE = str(Path(sys.executable).parent / "serve")
ADDRESS = ("127.0.0.1", 8000)
LONGEST_S = 280.0


def environment(home: Path) -> dict[str, str]:
    """Return the variables of somebody who has set nothing up: no settings of Ray's or ours, an empty home."""
    ours = ("RAY_", "GREENLIGHT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    home.mkdir(exist_ok=True)
    return {**kept, "HOME": str(home), "TERM": "xterm", "COLUMNS": "100"}


def is_listening() -> bool:
    """Whether something listens where the demo profile does."""
    with socket.socket() as probe:
        return probe.connect_ex(ADDRESS) == 0


@dataclass
class Watch:
    """Remembers every descendant of a process that it has once seen."""

    process: subprocess.Popen[bytes]
    seen: set[psutil.Process] = field(default_factory=set)

    def look(self) -> None:
        """Remember the descendants of this moment."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen.update(psutil.Process(self.process.pid).children(recursive=True))

    def wait(self) -> int:
        """Look on until the process has ended; return its exit status. Kills everything when it takes too long."""
        deadline = time.monotonic() + LONGEST_S
        while self.process.poll() is None:
            self.look()
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"{self.process.args!r} has not ended within {LONGEST_S:g} s")
            time.sleep(0.1)
        return int(self.process.returncode)

    def left(self) -> list[str]:
        """Return what still runs of all that was seen, after five seconds in which it may end."""
        _, alive = psutil.wait_procs(self.seen, timeout=5)
        return [str(process) for process in alive]

    def kill(self) -> None:
        """End the process and everything that it has started."""
        self.look()
        for process in self.seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def watched(command: Sequence[str], cwd: Path, stdout: int) -> Iterator[Watch]:
    """Start ``command`` in ``cwd`` as a newcomer would; nothing of it outlives the block."""
    # A newcomer's shell is in the foreground. Tests started in the background ignore SIGINT, and would hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(cwd / "home"), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stdout
    )
    watch = Watch(process)
    try:
        yield watch
    finally:
        watch.kill()
