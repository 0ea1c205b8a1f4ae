"""`greenlight check-endpoints`: a small request to every pipeline of a server, and a judge for what comes back."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.core.errors import InvalidInput, Unavailable, Unknown

if TYPE_CHECKING:
    from rich.console import Console

    from serve_app.commands.client import Client
    from serve_app.commands.judging.endpoints import Answered
    from serve_app.commands.judging.examiner import Examiner

_EXITS = """\
exit codes: 0 every pipeline answered, and the judge passed or warned of what it made; 3 a gate or the judge turned
something away; 1 a pipeline failed or did not answer; 2 wrong usage."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check-endpoints",
        help="send every pipeline of a server a small request, and judge what comes back",
        description=__doc__,
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", help="the server (default: $GREENLIGHT_URL, then http://127.0.0.1:8000)")
    parser.add_argument("--pipelines", nargs="+", metavar="NAME", help="only these (default: all that are served)")
    parser.add_argument(
        "--budget-s", type=float, default=600.0, metavar="S", help="seconds of work that one may take (default: 600)"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/endpoints"), help="where the report's folder is made")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask every pipeline in turn, write the report and print a table; return the exit code."""
    from rich.console import Console

    from serve_app import environment
    from serve_app.commands.client import Client
    from serve_app.commands.judging.examiner import Examiner, Wishes
    from serve_app.commands.judging.report import Report
    from serve_app.commands.run import check_out, new_folder

    check_out(arguments.out)
    if arguments.budget_s <= 0:
        raise InvalidInput("--budget-s", f"{arguments.budget_s:g} is not above 0")
    console = Console(soft_wrap=True)
    client = Client(environment.server_url(arguments.url))
    try:
        wanted = _wanted(client, arguments.pipelines)
        folder = new_folder(arguments.out)
        with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
            asking = _Asking(client, Examiner(Path(scratch), Wishes()), folder, arguments.budget_s, console)
            answers = [asking.answer(pipeline, Path(scratch)) for pipeline in wanted]
    finally:
        client.close()
    judgements = [judgement for answer in answers for judgement in answer.judgements]
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    many = "1 pipeline" if len(answers) == 1 else f"{len(answers)} pipelines"
    more = {"endpoints": [answer.as_json() for answer in answers]}
    Report(f"{many} checked", when, judgements, more).write(folder)
    for name in ("report.json", "index.html"):
        console.print(str(folder / name), highlight=False, markup=False)
    return exit_code(answers)


def exit_code(answers: Sequence[Answered]) -> int:
    """Return 1 when a pipeline failed, else 3 when something was turned away, else 0."""
    words = {answer.word for answer in answers}
    return 1 if "error" in words else 3 if words & {"fail", "reject"} else 0


def _wanted(client: Client, names: Sequence[str] | None) -> list[dict[str, Any]]:
    if not client.is_ready():
        raise Unavailable("the server", "it is not ready: see /readyz")
    served = {pipeline["name"]: pipeline for pipeline in client.pipelines()}
    for name in names or ():
        if name not in served:
            raise Unknown("pipeline", name, list(served))
    return [served[name] for name in dict.fromkeys(names or served)]


class _Asking:
    """Asks one pipeline after another, and says what each answered."""

    def __init__(self, client: Client, examiner: Examiner, folder: Path, budget_s: float, console: Console) -> None:
        self._client, self._examiner, self._folder = client, examiner, folder
        self._budget_s, self._console = budget_s, console

    def answer(self, pipeline: Mapping[str, Any], scratch: Path) -> Answered:
        from rich.text import Text

        from serve_app.commands.judging.endpoints import Answered, ask, request_for

        name = pipeline["name"]
        try:
            asked = request_for(pipeline, scratch, self._budget_s)
        except InvalidInput as error:
            answered = Answered(name, "unanswered", 0.0, error=str(error))
        else:
            answered = ask(self._client, asked, self._folder / name, self._examiner)
        style = {"pass": "green", "warn": "yellow", "fail": "red", "reject": "bold red", "error": "magenta"}
        points = ", ".join(f"{each.score.points:.0f}" for each in answered.judgements if each.score is not None)
        reason = answered.error or next((each.reason for each in answered.judgements if each.reason), "")
        tail = f"{answered.seconds:8.1f} s  {points:>6}  {name:<28}  {answered.state}  {reason}".rstrip()
        self._console.print(Text.assemble((f"{answered.word:<6}", style[answered.word]), tail), highlight=False)
        return answered
