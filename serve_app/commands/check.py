"""`greenlight check FILE...`: what is wrong in pipelines, Serve config files and RayService manifests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.core.errors import Misconfigured

if TYPE_CHECKING:
    from serve_app.serving.finding import Finding

Subparsers = argparse._SubParsersAction  # argparse gives the type of add_subparsers() no public name


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command to ``subparsers``."""
    parser = subparsers.add_parser(
        "check",
        help="find every mistake in configuration files, without loading anything",
        description="Check pipelines, Serve config files and RayService manifests (told apart by what is in them). "
        "Ends with 0 when all are right, 1 otherwise.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--crd", type=Path, metavar="FILE", help="hold manifests against this CustomResourceDefinition too (RayService)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each mistake, `file: dotted.path: message`, and for each good file; return 0 or 1."""
    mistakes = 0
    for path in arguments.files:
        try:
            found = list(_problems(path, arguments.crd))
        except Misconfigured as error:
            sys.stdout.write(f"{_under(path, error)}\n")
            mistakes += 1
            continue
        sys.stdout.writelines(f"{path}: {finding}\n" for finding in found)
        if not found:
            sys.stdout.write(f"{path}: ok\n")
        mistakes += len(found)
    return 1 if mistakes else 0


def _problems(path: Path, crd: Path | None) -> Iterator[Finding]:
    from serve_app.serving.documents import read_documents
    from serve_app.serving.finding import Finding, below

    documents = read_documents(path)
    if len(documents) > 1 and all(_is_someone_elses(document) for document in documents):
        yield Finding("", "holds neither a pipeline, nor a Serve config file, nor a RayService")
    for index, document in enumerate(documents):
        where = str(index) if len(documents) > 1 else ""
        if _is_someone_elses(document) and len(documents) > 1:
            continue  # a manifest may hold the claims and secrets that its RayService needs
        if not isinstance(document, Mapping):
            yield Finding(where, "is neither a pipeline, nor a Serve config file, nor a RayService")
            continue
        yield from below(where, _problems_in_document(document, path, crd))


def _problems_in_document(document: Mapping[str, Any], path: Path, crd: Path | None) -> Iterator[Finding]:
    from serve_app.serving.finding import Finding

    if document.get("kind") == "RayService":
        from serve_app.serving.crd import crd_problems
        from serve_app.serving.manifest import problems_in_manifest

        yield from problems_in_manifest(document)
        yield from crd_problems(document, crd) if crd else ()
    elif "applications" in document:
        from serve_app.serving.strict import problems_in

        yield from problems_in(document)
    elif "nodes" in document or "inputs" in document:
        from serve_app.config import plan_alone
        from serve_app.graph.spec import parse_pipeline

        plan_alone(parse_pipeline(document, str(path)))
    else:
        yield Finding("", "is neither a pipeline, nor a Serve config file, nor a RayService")


def _is_someone_elses(document: Any) -> bool:
    """True for a Kubernetes object of another kind."""
    return isinstance(document, Mapping) and "apiVersion" in document and document.get("kind") != "RayService"


def _under(path: Path, error: Misconfigured) -> str:
    """Return the error as a line that begins with the file's name, once."""
    return str(error) if error.where == str(path) else f"{path}: {error}"
