"""How long from `serve run` to ready, and to the first result? `python -m bench.cold_start [ROUNDS]`

The demo profile on this machine, started as an operator starts it, on a port and in directories of its own. Phases,
each from the start of the command: the HTTP port answers; every deployment is ready; the first step of a first run
begins; its files are there. Then, in a fresh process each, what a stage's imports and its `load` take. Wall seconds,
medians.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

from bench.record import emit
from serve_app import environment
from serve_app.commands.client import Client
from serve_app.commands.demo import INPUTS, PIPELINE
from serve_app.commands.profile import PROFILES, application_in

READY_S = 600.0
STOP_S = 30.0
LOAD = """
import json, pathlib, sys, tempfile, time
started = time.perf_counter()
import deployments
from tests.deployments.desk import DeskContext
stage = deployments.locate(sys.argv[1])
desk = DeskContext(pathlib.Path(tempfile.mkdtemp()))
imported = time.perf_counter()
stage().load(stage.Weights(), desk)
print(json.dumps({"import_s": imported - started, "load_s": time.perf_counter() - imported}))
"""


def profile(directory: Path, port: int) -> Path:
    """Write the demo profile with another port and home; return its path."""
    document = yaml.safe_load((PROFILES / "demo.yaml").read_text(encoding="utf-8"))
    document["http_options"]["port"] = port
    document["applications"][0]["args"]["directory"] = str(directory / "home")
    path = directory / "profile.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(path: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `serve run` on a profile, and end all of it afterwards."""
    command = [str(Path(sys.executable).parent / "serve"), "run", "--address", "local", str(path)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment.for_own_ray(), start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def one_start(directory: Path) -> dict[str, float]:
    """Return the seconds from the start of the command to the end of each phase."""
    port, log = free_port(), directory / "serve.log"
    started = time.monotonic()
    with serving(profile(directory, port), log) as process:
        url = f"http://127.0.0.1:{port}"
        phases = {"http_s": _until_it_answers(url, process, log) - started}
        with contextlib.closing(Client(url)) as client:
            while not client.is_ready():
                _check(process, log, started)
                time.sleep(0.1)
            phases["ready_s"] = time.monotonic() - started
            run_id = client.submit(PIPELINE, {**INPUTS, "frames": 9}, {})
            for happening in client.follow(run_id):
                if happening.kind == "step.started" and "first_step_s" not in phases:
                    phases["first_step_s"] = time.monotonic() - started
            phases["first_result_s"] = time.monotonic() - started
    return phases


def _until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> float:
    started = time.monotonic()
    while True:
        try:
            httpx.get(f"{url}/-/healthz", timeout=2)
        except httpx.TransportError:
            _check(process, log, started)
            time.sleep(0.1)
        else:
            return time.monotonic()


def _check(process: subprocess.Popen[bytes], log: Path, started: float) -> None:
    if process.poll() is not None or time.monotonic() - started > READY_S:
        raise SystemExit(f"the server did not come up: {log.read_text(errors='replace')[-2000:]}")


def stage_loads(names: list[str], rounds: int) -> None:
    """Write what importing and loading each stage takes, in processes of their own."""
    for name in names:
        measured = []
        for _ in range(rounds):
            command = [sys.executable, "-c", LOAD, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
            measured.append(json.loads(done.stdout))
        medians = {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        emit("cold_start", case=f"load {name}", **medians, load_1min=os.getloadavg()[0])


def main() -> None:
    """Write one line for the server, and one for each of its stages."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    starts = []
    for _ in range(rounds):
        directory = Path(tempfile.mkdtemp(prefix="gl-"))
        try:
            starts.append(one_start(directory))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    medians = {phase: statistics.median(each[phase] for each in starts) for phase in starts[0]}
    emit("cold_start", case="serve run, demo profile", rounds=rounds, **medians, load_1min=os.getloadavg()[0])
    options = application_in(PROFILES / "demo.yaml").options
    stage_loads([name for name in options if "." in name], rounds)


if __name__ == "__main__":
    main()
