"""`greenlight compare`: two settings on the same seeds, in pairs: the judge's difference, time and cost."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serve_app.core.errors import InvalidInput

if TYPE_CHECKING:
    from serve_app.runs.sweep import SweepSpec

MOST_SEEDS = 200


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    from serve_app.commands.sweep_run import add_places

    parser = subparsers.add_parser("compare", help="compare two settings on the same seeds", description=__doc__)
    parser.add_argument("pipeline", help="a pipeline's name")
    parser.add_argument("--adapter", metavar="NAME@STRENGTH", help="with it (B) against without it (A)")
    parser.add_argument("--a", action="append", default=[], metavar="NAME=VALUE", help="an input of setting A")
    parser.add_argument("--b", action="append", default=[], metavar="NAME=VALUE", help="an input of setting B")
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="pairs, with the seeds 1 to N (8)")
    parser.add_argument(
        "-i", "--input", dest="inputs", action="append", default=[], metavar="NAME=VALUE", help="the same in both"
    )
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="cells queued or at work (2)")
    parser.add_argument("--score", metavar="OUTPUT", help="the score to compare (`score`, or the only one)")
    add_places(parser, "outputs/compare")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return 0, or 1 when it was cancelled or nothing has a score."""
    from serve_app.commands import sweep_run
    from serve_app.commands.optimal import cells_in
    from serve_app.commands.run import new_folder
    from serve_app.commands.sweep_file import Note
    from serve_app.commands.sweep_report import Comparison
    from serve_app.runs.sweep_model import new_sweep_id
    from serve_app.runs.sweep_table import compared

    if not 1 <= arguments.seeds <= MOST_SEEDS:
        raise InvalidInput("--seeds", f"{arguments.seeds} is not within 1..{MOST_SEEDS}")
    place = sweep_run.place_of(arguments)
    folder = new_folder(arguments.out)
    with sweep_run.opened(place, arguments.pipeline, folder) as sweeping:
        pipeline = sweeping.pipeline(arguments.pipeline)
        first, second = settings_of(arguments, pipeline)
        note = Note(new_sweep_id(), _spec(arguments, pipeline, dict([first, second])), place)
        view = sweep_run.conduct(sweeping, note, folder)
    if view is None:
        return sweep_run.exit_status(None)
    found = compared(cells_in(view), "variant", second[0], first[0])
    differences = {name: None if each is None else each.as_json() for name, each in found.items()}
    sweep_run.leave_reports(folder, view, Comparison(first[0], second[0], differences))
    return sweep_run.exit_status(view)


Setting = tuple[str, dict[str, Any]]
"""A setting's name and its inputs."""


def settings_of(arguments: argparse.Namespace, pipeline: Mapping[str, Any]) -> tuple[Setting, Setting]:
    """Return A and B; raise InvalidInput unless there is exactly one way to tell them apart."""
    from serve_app.commands.run import parse_inputs

    if arguments.adapter is not None:
        if arguments.a or arguments.b:
            raise InvalidInput("--adapter", "is a comparison by itself; leave out --a and --b")
        name = _input_of(pipeline, "adapter", "--adapter")
        return ("without", {}), (arguments.adapter, {name: arguments.adapter})
    if not arguments.a and not arguments.b:
        raise InvalidInput("--b", "say what to compare: --adapter X@0.65, or --a steps=30 --b steps=10")
    first, second = parse_inputs(arguments.a), parse_inputs(arguments.b)
    names = [" ".join(given) or "as it is" for given in (arguments.a, arguments.b)]
    if names[0] == names[1]:
        raise InvalidInput("--b", "is the same as --a")
    return (names[0], first), (names[1], second)


def _input_of(pipeline: Mapping[str, Any], kind: str, option: str) -> str:
    found = next((name for name, each in pipeline["inputs"].items() if each["type"] == kind), None)
    if found is None:
        known = ", ".join(pipeline["inputs"])
        raise InvalidInput(option, f"{pipeline['name']} takes no {kind}; its inputs are {known}")
    return str(found)


def _spec(arguments: argparse.Namespace, pipeline: Mapping[str, Any], variants: Mapping[str, Any]) -> SweepSpec:
    from serve_app.commands.run import parse_inputs
    from serve_app.commands.sweep_file import checked_spec

    seeds = tuple(range(1, arguments.seeds + 1))
    return checked_spec(
        {
            "pipelines": (arguments.pipeline,),
            "variants": dict(variants),
            "over": {_input_of(pipeline, "seed", "--seeds"): seeds},
            "inputs": parse_inputs(arguments.inputs),
            "concurrency": arguments.concurrency,
            "max_cells": 2 * MOST_SEEDS,
            "score": arguments.score,
        }
    )
