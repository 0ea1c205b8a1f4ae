"""The `greenlight` command line. Exit codes: 0 all is well, 1 something is wrong and is named, 2 wrong usage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from serve_app.commands import (
    check,
    check_endpoints,
    compare,
    convert,
    demo,
    draw,
    gif,
    inspect,
    judge,
    pull,
    reference,
    run,
    schema,
    sweep,
)
from serve_app.core.errors import GreenlightError

COMMANDS = (
    check,
    check_endpoints,
    compare,
    convert,
    demo,
    draw,
    gif,
    inspect,
    judge,
    pull,
    reference,
    run,
    schema,
    sweep,
)
"""Modules with `add(subparsers)`, which sets `run(arguments) -> int`; they import what is heavy only when they run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a GreenlightError is one line on stderr, its hint on the next."""
    parser = argparse.ArgumentParser(
        prog="greenlight",
        description="Serve generative image and video models, and ship only what a judge has passed.",
    )
    parser.add_argument("--version", action="version", version=f"greenlight {version('greenlight-serve')}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except GreenlightError as error:
        print(f"greenlight: {error}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
