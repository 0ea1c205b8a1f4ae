"""`greenlight demo`: start the demo profile, send the bundled photo through it over HTTP, show the result, stop it."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from serve_app.commands.client import Client
from serve_app.commands.profile import PROFILES
from serve_app.commands.run import follow
from serve_app.core.errors import Misconfigured, Unavailable

PIPELINE = "animatic-fidelity"
PHOTO = PROFILES / "demo.jpg"
PROMPT = "a slow push in, subtle motion"
_READY_S = 120.0
_STOP_S = 30.0


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("demo", help="a photo becomes a judged, upscaled clip, on this machine's CPU")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="where the run's folder is made")
    parser.add_argument("--log", type=Path, default=Path(".greenlight/demo.log"), help="where the server's words go")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return the run's exit status."""
    with _server(arguments.log) as url:
        client = Client(url)
        try:
            _wait_until_ready(client, arguments.log)
            return follow(client, PIPELINE, {"image": PHOTO, "prompt": PROMPT, "seed": 7}, {}, arguments.out)
        finally:
            client.close()


@contextlib.contextmanager
def _server(log: Path) -> Iterator[str]:
    """Run `serve run` on the demo profile in a process group of its own, and end all of it afterwards."""
    url = "http://127.0.0.1:8000"
    if Client(url).is_ready():
        raise Misconfigured(url, "something serves there already; stop it, or use `greenlight run` with it")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).parent / "serve"), "run", "--address", "local", str(PROFILES / "demo.yaml")]
    sys.stdout.write(f"starting {' '.join(command)}  (log: {log})\n")
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield url
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask `serve run` to shut down (it takes its Ray along), and insist when it does not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(client: Client, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while not client.is_ready():
        if time.monotonic() > deadline:
            raise Unavailable("the demo server", f"not ready after {_READY_S:.0f} s; see {log}")
        time.sleep(0.3)
