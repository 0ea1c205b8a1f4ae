"""`greenlight sweep`: a grid of runs, on a server or in this process, and which setting is the best, if any is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.core.errors import InvalidInput

if TYPE_CHECKING:
    from serve_app.commands.sweeping import Sweeping
    from serve_app.runs.sweep import SweepSpec

NO_WINNER_EXIT = 3
"""The exit status when a seed was to be saved and none has won: neither success nor failure."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    from serve_app.commands.sweep_run import add_places

    parser = subparsers.add_parser("sweep", help="run a grid of settings and compare them", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a YAML file with the sweep")
    parser.add_argument("--pipeline", dest="pipelines", action="append", default=[], help="several compare models")
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="NAME=V1,V2",
        help="an axis: seed=1,2,3; a JSON list where values have commas",
    )
    parser.add_argument(
        "-i", "--input", dest="inputs", action="append", default=[], metavar="NAME=VALUE", help="the same in every cell"
    )
    parser.add_argument("--concurrency", type=int, metavar="N", help="cells queued or at work at any time (2)")
    parser.add_argument("--score", metavar="OUTPUT", help="the score to compare (`score`, or the only one)")
    parser.add_argument("--ladder", metavar="AXIS", help="the axis that goes from dear to cheap (`steps`)")
    parser.add_argument("--tolerance", type=float, metavar="POINTS", help="what a rung of the ladder may lose (2)")
    parser.add_argument("--max-cells", type=int, metavar="N", help="refuse a larger grid (200)")
    parser.add_argument("--save-optimal", type=Path, metavar="PATH", help="put the seed that won into this seed table")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the sweep of that folder")
    add_places(parser, "outputs/sweeps")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return 0, 1 when it was cancelled or nothing has a score, 3 when no seed has won."""
    from serve_app.commands import sweep_run
    from serve_app.commands.run import new_folder
    from serve_app.commands.sweep_file import Note, spec_of
    from serve_app.runs.sweep_model import new_sweep_id

    if arguments.resume is not None:
        _refuse_with_resume(arguments)
        note, folder = Note.read(arguments.resume), arguments.resume
    else:
        note = Note(new_sweep_id(), spec_of(arguments), sweep_run.place_of(arguments))
        folder = new_folder(arguments.out)
    with sweep_run.opened(note.place, note.spec.pipelines[0], folder) as sweeping:
        axes = _seed_axes(sweeping, note.spec) if arguments.save_optimal else {}
        view = sweep_run.conduct(sweeping, note, folder)
    if view is not None:
        sweep_run.leave_reports(folder, view)
    status = sweep_run.exit_status(view)
    return status if view is None or status or not axes else _save(arguments.save_optimal, view, axes)


def _refuse_with_resume(arguments: argparse.Namespace) -> None:
    given = ("file", "pipelines", "over", "inputs", "concurrency", "score", "ladder", "tolerance", "max_cells")
    for name in (*given, "url", "local", "profile"):
        if getattr(arguments, name):
            raise InvalidInput(name, "the folder to resume has it already; leave it out")


def _seed_axes(sweeping: Sweeping, spec: SweepSpec) -> dict[str, str]:
    """Return the seed's axis of every pipeline: that there is none is known before anything is spent."""
    from serve_app.commands.optimal import seed_axis

    return {name: seed_axis(sweeping.pipeline(name), spec) for name in spec.pipelines}


def _save(path: Path, view: dict[str, Any], axes: dict[str, str]) -> int:
    from serve_app.commands.optimal import winners
    from serve_app.core.optimal_seeds import write_seeds

    seeds, reasons = winners(view, axes)
    if seeds:
        write_seeds(path, seeds)
    for pipeline, found in seeds.items():
        sys.stdout.write(f"{path}: {pipeline} is {found.seed}, {found.provenance}\n")
    for pipeline, reason in reasons.items():
        sys.stdout.write(f"{path}: nothing saved for {pipeline}: {reason}\n")
    return NO_WINNER_EXIT if reasons else 0
