"""`greenlight demo`: start the demo profile, send the bundled photo through it over HTTP, show the result, stop it."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from serve_app import environment
from serve_app.commands.client import Client
from serve_app.commands.profile import PROFILES
from serve_app.commands.run import INTERRUPTED_EXIT, follow
from serve_app.core.errors import Misconfigured, Unavailable

PIPELINE = "animatic-fidelity"
PHOTO = PROFILES / "demo.jpg"
INPUTS = {"image": PHOTO, "prompt": "a handheld camera, a portrait in the studio", "seed": 42}
ADDRESS = ("127.0.0.1", 8000)
"""Where the demo profile listens."""
_READY_S = 300.0
_STOP_S = 30.0


class NotStarted(Unavailable):
    """Raised when the demo's server ends, or is not ready in time."""

    code, hint = "not_started", "The server's log says why."


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("demo", help="a photo becomes a judged, upscaled clip, on this machine's CPU")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="where the run's folder is made")
    parser.add_argument("--log", type=Path, default=Path(".greenlight/demo.log"), help="where the server's words go")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return the run's exit status, 130 when it was interrupted before the run began."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # by default they would end this process and leave the server
        signal.signal(number, _leave)
    # What a shell starts in the background ignores SIGINT; `serve run` would inherit that, and not stop when asked.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    url = "http://{}:{}".format(*ADDRESS)
    try:
        with _server(arguments.log) as server, contextlib.closing(Client(url)) as client:
            _wait_until_ready(client, server, arguments.log)
            return follow(client, PIPELINE, INPUTS, {}, arguments.out)
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


@contextlib.contextmanager
def _server(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `serve run` on the demo profile, out of the terminal's reach, and end all of it afterwards."""
    # Serve shares its port with whoever else shares it: two servers would each get a part of the requests.
    with socket.socket() as probe:
        if probe.connect_ex(ADDRESS) == 0:
            address = "{}:{}".format(*ADDRESS)
            raise Misconfigured(address, "something serves there already; stop it, or use `greenlight run` with it")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).parent / "serve"), "run", "--address", "local", str(PROFILES / "demo.yaml")]
    sys.stdout.write(f"starting {' '.join(command)}  (log: {log})\n")
    sys.stdout.flush()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment.for_own_ray(), start_new_session=True
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask `serve run` to shut down (it takes its Ray along), and end what it leaves behind."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when Ctrl-C comes again
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(client: Client, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while not client.is_ready():
        if server.poll() is not None:
            raise NotStarted("the demo server", f"it ended with status {server.returncode}; see {log}")
        if time.monotonic() > deadline:
            raise NotStarted("the demo server", f"not ready after {_READY_S:.0f} s; see {log}")
        time.sleep(0.3)
