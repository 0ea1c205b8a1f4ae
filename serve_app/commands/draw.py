"""`greenlight draw PIPELINE`: the graph as a Mermaid flowchart."""

from __future__ import annotations

import argparse
import sys

Subparsers = argparse._SubParsersAction  # argparse gives the type of add_subparsers() no public name


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command to ``subparsers``."""
    parser = subparsers.add_parser(
        "draw",
        help="print a pipeline's graph as a Mermaid flowchart",
        description="Print a pipeline's graph as a Mermaid flowchart, which GitHub and most editors show as a picture.",
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a shipped pipeline's name, or a YAML file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the flowchart; raise Unknown for a pipeline that does not exist, Misconfigured for one that is wrong."""
    from serve_app.config import plan_alone
    from serve_app.graph.draw import mermaid
    from serve_app.graph.spec import find_pipeline

    sys.stdout.write(mermaid(plan_alone(find_pipeline(arguments.pipeline))) + "\n")
    return 0
