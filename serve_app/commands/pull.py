"""`greenlight pull PROFILE`: every file that a profile's stages need from the hub or an address, fetched beforehand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from serve_app.commands.supplies import Failure, Need, Supply
    from serve_app.core.fetch import Tell
    from serve_app.core.source import Source

_JOBS = 4
_WIDE = 160
_NAMED = 32
"""Characters of a file's name beside its bar, so that a line fits 80."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "pull",
        help="fetch the weights and adapters that a profile needs",
        description="Fetch every file that a profile's stages need from the hub or an address: side by side, resumed "
        "where it broke off, verified. What fails does not hinder the others. Afterwards serving needs no hub. "
        "Ends with 0 when everything is here, 1 otherwise.",
    )
    parser.add_argument("profile", metavar="PROFILE", help="a Serve config file, or the name of a shipped pipeline")
    parser.add_argument("--list", action="store_true", help="fetch nothing: show sizes, licences and what is here")
    parser.add_argument("--verify", action="store_true", help="read what is here again and compare its digests too")
    parser.add_argument("--jobs", type=_jobs, default=_JOBS, metavar="N", help=f"files at a time ({_JOBS})")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List or fetch; one line for each failure. Return 0 when everything is here, 1 otherwise."""
    from serve_app.commands.supplies import survey

    needs = survey(needs_of(arguments.profile), arguments.jobs)
    if arguments.list:
        _show(needs)
        return 1 if _report(_faults(needs)) else 0
    if arguments.verify:
        from serve_app.commands.supplies import verify_all

        spoiled = verify_all(needs, arguments.jobs)
        for failure in spoiled:
            sys.stdout.write(f"{failure.title}: {failure.reason}\n")
        needs = survey(needs_of(arguments.profile), arguments.jobs) if spoiled else needs
    failures = _fetch(needs, arguments.jobs)
    _report(failures)
    files = sum(len(need.supplies) for need in needs)
    words = f"{len(failures)} could not be had" if failures else "everything is here"
    sys.stdout.write(f"{files} files, {size(sum(need.size_bytes for need in needs))}: {words}\n")
    return 1 if failures else 0


def needs_of(profile: str) -> list[Source]:
    """Return what the stages of a profile, or of a shipped pipeline's first profile, read. Raises Misconfigured."""
    from serve_app.commands.profile import application_in, profile_for
    from serve_app.config import deployments_of
    from serve_app.core.source import sources_of

    path = Path(profile) if profile.endswith((".yaml", ".yml")) else profile_for(profile)
    deployments = deployments_of(application_in(path).config)
    return list(dict.fromkeys(s for deployment in deployments.values() for s in sources_of(deployment.weights)))


def size(count: int | None) -> str:
    """Return a number of bytes for people: `9.3 GiB`."""
    if count is None:
        return "?"
    number, unit = float(count), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def _jobs(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 64:
        raise argparse.ArgumentTypeError("from 1 to 64")
    return count


def _faults(needs: Iterable[Need]) -> list[Failure]:
    from serve_app.commands.supplies import Failure

    return [Failure(need.title, need.fault) for need in needs if need.fault is not None]


def _report(failures: list[Failure]) -> bool:
    for failure in failures:
        sys.stderr.write(f"greenlight: {failure.title}: {failure.reason}\n")
    return bool(failures)


def _show(needs: list[Need]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("Source", "Files", "Size", "Licence", "Here", show_footer=True, box=None, pad_edge=False)
    for need in needs:
        table.add_row(need.title, str(len(need.supplies)), _size_of(need), need.licence, _state(need))
    total = sum(need.size_bytes for need in needs)
    here = sum(supply.size_bytes or 0 for need in needs for supply in need.supplies if supply.is_here)
    files = sum(len(need.supplies) for need in needs)
    for column, text in zip(table.columns, ("Total", str(files), size(total), "", f"{size(here)} here"), strict=True):
        column.footer = text
        column.overflow = "fold"
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False, markup=False)
    console.print(table)


def _size_of(need: Need) -> str:
    is_known = all(supply.size_bytes is not None for supply in need.supplies)
    return size(need.size_bytes) if is_known and need.fault is None else "?"


def _state(need: Need) -> str:
    if need.fault is not None:
        return "unknown"
    if need.present == len(need.supplies):
        return "yes"
    return f"{need.present} of {len(need.supplies)}" if need.present else "no"


def _fetch(needs: list[Need], jobs: int) -> list[Failure]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from serve_app.commands.supplies import supply_all

    console = Console(file=sys.stdout, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(12), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bars:
        return supply_all(needs, jobs, lambda supply: _listener(bars, supply))


def _listener(bars: Progress, supply: Supply) -> Tell:
    """Return what moves a file's bar, or says one line when it is here where there are no bars."""
    name = supply.title if len(supply.title) <= _NAMED else f"...{supply.title[3 - _NAMED :]}"
    task = bars.add_task(name, total=supply.size_bytes, start=False, visible=False)

    def tell(done: int, of: int | None) -> None:
        if not bars.tasks[task].started:
            bars.start_task(task)
        bars.update(task, completed=done, total=of, visible=True)
        if bars.disable and done == of:
            sys.stdout.write(f"{supply.title}: {size(done)}\n")

    return tell
