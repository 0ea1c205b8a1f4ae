"""`greenlight schema`: what a configuration or a pipeline file may say, as JSON Schema for editors."""

from __future__ import annotations

import argparse
import json
import sys

Subparsers = argparse._SubParsersAction  # argparse gives the type of add_subparsers() no public name


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command to ``subparsers``."""
    parser = subparsers.add_parser(
        "schema",
        help="print the JSON Schema of configurations or pipelines",
        description="Print the JSON Schema of the application's `args`, or of pipeline files.",
    )
    parser.add_argument("of", nargs="?", choices=("app", "pipeline"), default="app")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    from serve_app.config import AppConfig
    from serve_app.graph.spec import PipelineSpec

    model = AppConfig if arguments.of == "app" else PipelineSpec
    sys.stdout.write(json.dumps(model.model_json_schema(), indent=2) + "\n")
    return 0
