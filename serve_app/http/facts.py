"""What a run came to, in headers: its cost, time, seed and verdict, for callers that fetch a file and nothing else."""

from __future__ import annotations

from typing import Any

from serve_app.http import adapters
from serve_app.runs.model import Run

HEADERS = {
    "X-Greenlight-Cost-USD": "What the run has cost, all attempts together. Absent before the end and where unknown.",
    "X-Greenlight-Seconds": "Seconds of all attempts together. Absent before the end.",
    "X-Greenlight-Seed": "The seed of the attempt that is delivered, or that the file is of.",
    "X-Greenlight-Verdict": "pass, warn, fail or reject: of the run, or of the attempt that the file is of.",
    adapters.USED: "The adapters of that attempt, with their strengths. Absent where there are none.",
}
"""Name and meaning, for the OpenAPI document."""


def headers_of(run: Run, number: int | None = None) -> dict[str, str]:
    """Return the headers of a run that has ended, or of its attempt ``number``; none before there is a report."""
    report = run.report or {}
    attempts: list[dict[str, Any]] = report.get("attempts") or []
    shown = _shown(report, attempts) if number is None else _numbered(attempts, number)
    verdict = shown.get("verdict") if number is not None else (report.get("verdict") or {}).get("word")
    usd = (report.get("cost") or {}).get("usd")
    facts = {
        "X-Greenlight-Cost-USD": None if usd is None else f"{usd:.9f}".rstrip("0").rstrip("."),
        "X-Greenlight-Seconds": (report.get("timings") or {}).get("attempts_s"),
        "X-Greenlight-Seed": shown.get("seed"),
        "X-Greenlight-Verdict": verdict,
        adapters.USED: adapters.used_in(shown),
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _shown(report: dict[str, Any], attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the attempt that the run's own outputs are of: the delivered one, else the last that was judged."""
    delivered = report.get("delivered_attempt")
    if delivered is not None:
        return _numbered(attempts, delivered)
    return next((each for each in reversed(attempts) if each.get("is_finished")), {})


def _numbered(attempts: list[dict[str, Any]], number: int) -> dict[str, Any]:
    return next((each for each in attempts if each.get("number") == number), {})
