"""Logs that machines read: one JSON object per line, with the run that a line is about."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal, TextIO

ROOT = "greenlight"
"""Above every logger of ours."""

Format = Literal["text", "json"]

_run: ContextVar[str | None] = ContextVar("greenlight_run", default=None)


@contextlib.contextmanager
def about(run_id: str) -> Iterator[None]:
    """Put ``run_id`` into every line that is logged inside, also by tasks and threads that are started there."""
    token = _run.set(run_id)
    try:
        yield
    finally:
        _run.reset(token)


def set_up(form: Format, stream: TextIO | None = None) -> None:
    """Write our loggers' lines of INFO and above to ``stream`` (stderr) in this form, once, however often it is called.

    Ray keeps a worker's stderr in a file of its own under the session's `logs`.
    """
    logger = logging.getLogger(ROOT)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else _Text())
    handler.addFilter(_bind)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _bind(record: logging.LogRecord) -> bool:
    record.run_id = _run.get()
    return True


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s [%(run_id)s] %(message)s")


class JsonLines(logging.Formatter):
    """One JSON object per line: ``at`` (UTC, ISO 8601), ``level``, ``logger``, ``run_id`` if any, ``message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. A newline or a quote in a message cannot forge another."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"at": f"{at}.{int(record.msecs):03d}Z", "level": record.levelname, "logger": record.name}
        run_id = getattr(record, "run_id", None)
        if run_id is not None:
            line["run_id"] = run_id
        line["message"] = record.getMessage()
        if record.exc_info:
            line["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=False)
