"""How a run ended: its final state, what there is to report, and why, if it did not succeed."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import Any

from serve_app.core.errors import GreenlightError, Rejected
from serve_app.runs.attempt import Result
from serve_app.runs.model import RunState

log = logging.getLogger("greenlight.queue")


@dataclass(frozen=True)
class Ending:
    """A run's final ``state``, its ``result``, and the ``error`` as JSON values; None when it succeeded."""

    state: RunState
    result: Result
    error: dict[str, Any] | None


def ending_of(result: Result) -> Ending:
    """Return the ending of a run whose policy was carried out."""
    if result.is_accepted:
        return Ending(RunState.SUCCEEDED, result, None)
    return Ending(RunState.REJECTED, result, rejected_json(result))


def error_json(error: BaseException, run_id: str) -> dict[str, Any]:
    """Return why a run failed, as JSON values; a foreign error is logged with its trace and told without it."""
    if isinstance(error, GreenlightError):
        facts = {"code": error.code, "status": error.status, "field": error.field, "hint": error.hint}
        return {**facts, "detail": str(error)}
    log.error("run %s failed:\n%s", run_id, "".join(traceback.format_exception(error)))
    detail = f"an unforeseen {type(error).__name__}; the runner's log has its trace"
    return {"code": "internal", "status": 500, "field": None, "hint": "Report it with the run's id.", "detail": detail}


def rejected_json(result: Result) -> dict[str, Any]:
    """Return the rejection of the last attempt that was judged, as a run's error."""
    judged = [attempt for attempt in result.attempts if attempt.is_finished]
    last = judged[-1].rejection or {}
    detail = f"every attempt was rejected ({len(judged)} in all); the last by {last['detector']}: {last['reason']}"
    if judged[-1].is_hopeless:
        detail += "; no other seed can help, so it was the last"
    if result.undelivered is not None:
        detail += f"; {result.undelivered}"
    facts = {"code": Rejected.code, "status": Rejected.status, "field": None, "hint": Rejected.hint, "detail": detail}
    return {**facts, "rejection": last}
