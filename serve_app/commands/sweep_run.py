"""Carrying a sweep out for a person: its folder, the live table, and the reports at the end."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.commands.run import INTERRUPTED_EXIT, check_out
from serve_app.commands.sweep_file import NOTE, Note, Place
from serve_app.commands.sweep_report import Comparison, lines, page, place
from serve_app.core.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

    from serve_app.commands.sweeping import Sweeping

LOOK_EVERY_S = 0.5


def add_places(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the options that say who carries a sweep out, and where its folder is made."""
    parser.add_argument("--out", type=Path, default=Path(out), help="where the sweep's folder is made")
    parser.add_argument("--url", help="the server (default: $GREENLIGHT_URL, then http://127.0.0.1:8000)")
    parser.add_argument("--local", action="store_true", help="carry it out in this process, without a server")
    parser.add_argument("--profile", help="with --local: the Serve config file whose stages and CPUs are used")


def place_of(arguments: argparse.Namespace) -> Place:
    """Return where the options want the sweep; raise InvalidInput for options of which one excludes the other."""
    from serve_app import environment

    if arguments.local and arguments.url:
        raise InvalidInput("--url", "has no effect with --local; leave one of them out")
    if arguments.profile and not arguments.local:
        raise InvalidInput("--profile", "has an effect with --local only: a server has its own")
    check_out(arguments.out)
    url = None if arguments.local else environment.server_url(arguments.url)
    return Place(url, arguments.profile and str(Path(arguments.profile).absolute()))


@contextmanager
def opened(place: Place, pipeline: str, folder: Path) -> Iterator[Sweeping]:
    """Give who carries sweeps out at ``place``; in this process, their record is in ``folder``.

    A folder in which nothing was begun is taken away again: what is wrong leaves no trace.
    """
    from serve_app.commands.profile import application_in, profile_for
    from serve_app.commands.sweeping import LocalSweeps, RemoteSweeps

    try:
        if place.url is not None:
            sweeping: Sweeping = RemoteSweeps(place.url)
        else:
            application = application_in(Path(place.profile) if place.profile else profile_for(pipeline))
            sweeping = LocalSweeps(application.config, application.options, folder)
        with closing(sweeping):
            yield sweeping
    finally:
        if not (folder / NOTE).exists():
            shutil.rmtree(folder)


def conduct(sweeping: Sweeping, note: Note, folder: Path) -> dict[str, Any] | None:
    """Carry the sweep out, show it, and return its last view; None when Ctrl-C ended the watching."""
    from rich.console import Console

    console = Console()
    sweeping.start(note.id, note.spec)
    note.write(folder)
    say(console, f"sweep {note.id}, in {folder}")
    try:
        return _watch(sweeping, note.id, console)
    except KeyboardInterrupt:
        goes_on = "stops here" if note.place.url is None else "goes on at the server"
        say(console, f"the sweep {goes_on}; greenlight sweep --resume {folder}")
        return None


def leave_reports(folder: Path, view: Mapping[str, Any], comparison: Comparison | None = None) -> None:
    """Write `report.json`, `report.txt` and `report.html` into ``folder``, and print the text."""
    from rich.console import Console

    document = {**view, **({} if comparison is None else comparison.as_json())}
    (folder / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
    text = "\n".join(lines(view, comparison)) + "\n"
    (folder / "report.txt").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(page(view, comparison), encoding="utf-8")
    say(Console(), text.rstrip("\n"))


def say(console: Console, text: str) -> None:
    """Print a line as it is: a path is copied whole, brackets and all."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def exit_status(view: Mapping[str, Any] | None) -> int:
    """Return 0 for a sweep that finished, 1 for one that was cancelled or whose every run failed, 130 for Ctrl-C."""
    if view is None:
        return INTERRUPTED_EXIT
    has_score = any(cell["points"] is not None for cell in view["cells"])
    return 0 if view["state"] == "finished" and has_score else 1


def _watch(sweeping: Sweeping, sweep_id: str, console: Console) -> dict[str, Any]:
    """Show the sweep until it has ended: a live table on a terminal, elsewhere one line per cell that ends."""
    from rich.live import Live
    from rich.text import Text

    told: set[str] = set()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            view = sweeping.look(sweep_id)
            if console.is_terminal:
                live.update(Text("\n".join(lines(view))), refresh=True)
            else:
                _tell(view, told, console)
            if view["state"] != "running":
                return view
            time.sleep(LOOK_EVERY_S)


def _tell(view: Mapping[str, Any], told: set[str], console: Console) -> None:
    for cell in view["cells"]:
        if cell["seconds"] is not None and cell["run_id"] not in told:
            told.add(cell["run_id"])
            points = "no score" if cell["points"] is None else f"{cell['points']:.2f} points"
            say(console, f"  {place(cell)}: {cell['state']}, {points}, {cell['seconds']:.1f} s")
