"""`greenlight run`: one run, against a server or in this process, with progress bars and its files in a folder."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.commands.phases import phases
from serve_app.core.errors import InvalidInput, Misconfigured, Unknown

if TYPE_CHECKING:
    from serve_app.commands.followed import Followed

Say = Callable[[str], None]

REJECTED_EXIT = 3
"""The exit status of a run that every gate rejected: neither success nor failure."""
INTERRUPTED_EXIT = 130
"""What a shell expects of a command that Ctrl-C ended."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("run", help="run a pipeline and fetch its files", description=__doc__)
    parser.add_argument("pipeline", help="a pipeline's name")
    parser.add_argument(
        "-i",
        "--input",
        dest="inputs",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an input, as often as needed; NAME=@FILE sends a picture, numbers are numbers",
    )
    parser.add_argument("--policy", default="{}", metavar="JSON", help="for example '{\"attempts\": 1}'")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="where the run's folder is made")
    parser.add_argument("--url", help="the server (default: $GREENLIGHT_URL, then http://127.0.0.1:8000)")
    parser.add_argument("--local", action="store_true", help="carry it out in this process, without a server")
    parser.add_argument("--profile", help="with --local: the Serve config file whose stages and CPUs are used")
    parser.add_argument("--log", action="store_true", help="print a log of every step at the end, for scripts")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return 0, 3 when the run was rejected, 1 when it failed."""
    if arguments.local and arguments.url:
        raise InvalidInput("--url", "has no effect with --local; leave one of them out")
    if arguments.profile and not arguments.local:
        raise InvalidInput("--profile", "has an effect with --local only: a server has its own")
    inputs = parse_inputs(arguments.inputs)
    policy = _json_object("--policy", arguments.policy)
    check_out(arguments.out)
    followed = _local(arguments) if arguments.local else _remote(arguments.url)
    try:
        return follow(followed, arguments.pipeline, inputs, policy, arguments.out, is_logged=arguments.log)
    finally:
        followed.close()


def follow(
    followed: Followed,
    pipeline: str,
    inputs: Mapping[str, Any],
    policy: Mapping[str, Any],
    out: Path,
    is_logged: bool = False,
) -> int:
    """Submit a run, show it, fetch its files into a new folder of ``out`` and print what came of it."""
    from rich.console import Console

    from serve_app.commands.display import Display

    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)  # a path is copied whole, brackets and all

    run_id = followed.submit(pipeline, inputs, policy)
    say(f"run {run_id} of {pipeline}")
    try:
        last = Display(console).show(followed.follow(run_id))
    except KeyboardInterrupt:
        followed.cancel(run_id)
        say("cancelled")
        return INTERRUPTED_EXIT
    state = "nothing" if last is None else last.kind
    data = {} if last is None else last.data
    try:
        report = followed.report(run_id)
    except Unknown:  # it was over before anybody took it up, or was given up
        _say_error(say, state, data)
        return 1
    folder = new_folder(out)
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    for name, artifact in {**report["evidence"], **report["outputs"]}.items():
        # By the output's name, of which there is one: two videos may both call their file video.mp4.
        followed.fetch(run_id, name, folder / f"{name}{Path(artifact['name']).suffix}")
    for path in sorted(folder.iterdir()):
        say(f"  {path}")
    _say_error(say, state, data)
    for line in phases(report) if is_logged else ():
        say(line)
    _conclude(say, report)
    return {"succeeded": 0, "rejected": REJECTED_EXIT}.get(state, 1)


def _say_error(say: Say, state: str, data: Mapping[str, Any]) -> None:
    if state in ("failed", "cancelled"):
        say(f"{state}: {data['error']['detail']}")


def _conclude(say: Say, report: Mapping[str, Any]) -> None:
    verdict, cost, attempts = report["verdict"], report["cost"], report["attempts"]
    if attempts and report["seed_origin"] is not None:
        say(f"seed     {attempts[0]['seed']}, {report['seed_origin']}")
    say(f"verdict  {verdict['word'] or 'none'}: {verdict['reason']}")
    usd = "unknown" if cost["usd"] is None else f"{cost['usd']:.6f} USD"
    others = "".join(f" = {amount:.2f} {name}" for name, amount in cost["amounts"].items() if amount is not None)
    say(f"cost     {usd}{others} for {cost['seconds']:.1f} s of work")


def check_out(out: Path) -> None:
    """Raise InvalidInput where no folder can be made: after the run it would be too late. Nothing is made yet."""
    there = next(path for path in (out, *out.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InvalidInput("--out", f"{there} is not a directory that can be written into")


def new_folder(out: Path) -> Path:
    """Make ``out/YYYYmmdd_HHMMSS``, with a number behind it when two runs end within one second."""
    stamp = time.strftime("%Y%m%d_%H%M%S")
    for number in range(1000):
        folder = out / (stamp if number == 0 else f"{stamp}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise Misconfigured(str(out), f"has a thousand folders called {stamp}")


def parse_inputs(given: Sequence[str]) -> dict[str, Any]:
    """Return NAME=VALUE pairs as inputs: @FILE is a picture's path, numbers, true and false are JSON, the rest text."""
    inputs: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(pair, "is not NAME=VALUE")
        if name in inputs:
            raise InvalidInput(f"inputs.{name}", "is given twice")
        inputs[name] = _value(name, text)
    return inputs


def _value(name: str, text: str) -> Any:
    if text.startswith("@"):
        path = Path(text[1:])
        if not path.is_file():
            raise InvalidInput(f"inputs.{name}", f"there is no file {path}")
        return path
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, str):
        return value  # quoted as JSON, which is how a text that looks like a number is given
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if is_number else text


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(name, f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(name, "is a JSON object")
    return value


def _remote(url: str | None) -> Followed:
    from serve_app import environment
    from serve_app.commands.client import Client

    return Client(environment.server_url(url))


def _local(arguments: argparse.Namespace) -> Followed:
    from serve_app.commands.local import Local
    from serve_app.commands.profile import application_in, profile_for

    path = Path(arguments.profile) if arguments.profile else profile_for(arguments.pipeline)
    application = application_in(path)
    return Local(application.config, application.options)
