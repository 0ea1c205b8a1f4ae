"""YAML as text: several documents in one file, or a file inside a manifest. A repeated key is an error here too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from serve_app.core.errors import Misconfigured
from serve_app.graph.spec import UniqueKeys


def documents_in(text: str, where: str) -> list[Any]:
    """Return every YAML document in ``text`` that is not empty; raise Misconfigured naming ``where`` for bad YAML."""
    try:
        return [document for document in yaml.load_all(text, Loader=UniqueKeys) if document is not None]
    except yaml.YAMLError as error:
        raise Misconfigured(where, " ".join(str(error).split())) from error


def read_documents(path: Path) -> list[Any]:
    """Return the documents in a file; raise Misconfigured for one that is missing, empty or no YAML."""
    try:
        documents = documents_in(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(str(path), str(error)) from error
    if not documents:
        raise Misconfigured(str(path), "is empty")
    return documents
