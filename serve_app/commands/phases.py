"""A finished run as a log that a person reads and a script parses: `[1/4] ...` for each step, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_ENDS = {"succeeded": "COMPLETE", "rejected": "REJECTED"}


def phases(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a report: the steps of the attempt that was delivered, or else of the last, then the end.

    A judge's step lists its checkpoints with their words, the largest and the mean, and then what it found.
    """
    attempts = report["attempts"]
    number = report["delivered_attempt"]
    shown = next((attempt for attempt in attempts if attempt["number"] == number), attempts[-1] if attempts else None)
    if shown is not None:
        yield f"[ATTEMPT {shown['number']} of {len(attempts)}] seed {shown['seed']}"
        for place, step in enumerate(shown["steps"], start=1):
            yield f"[{place}/{len(shown['steps'])}] {step['node']}: {step['stage']}, {step['seconds']:.1f} s"
            yield from (f"    {line}" for line in _lines(step))
    cost, verdict = report["cost"], report["verdict"]
    usd = "unknown" if cost["usd"] is None else f"{cost['usd']:.4f} USD"
    others = "".join(f" = {amount:.1f} {name}" for name, amount in cost["amounts"].items() if amount is not None)
    word = _ENDS.get(report["state"], "FAILED")
    yield f"[{word}] run {report['run']}, {cost['seconds']:.1f} s, {usd}{others}, verdict {verdict['word'] or 'none'}"


def _lines(step: Mapping[str, Any]) -> Iterator[str]:
    value = step["value"]
    if value.get("type") == "score":
        yield from _score(value)
    elif value.get("type") == "artifact":
        yield f"{value['name']}: {value['size_bytes'] / 1e6:.2f} MB"
    elif value.get("type") == "clip":
        yield f"{value['width']}x{value['height']}, {value['frames']} frames at {value['fps']} fps"
    yield from (f"warning: {warning}" for warning in step["warnings"])


def _score(score: Mapping[str, Any]) -> Iterator[str]:
    points = score["checkpoints"]
    for point in points:
        yield f"frame {point['frame']:>4}: {point['value']:6.2f} {point['unit']}  {point['label']}"
    if points:
        values = [point["value"] for point in points]
        yield f"max {max(values):.2f}, mean {sum(values) / len(values):.2f} {points[0]['unit']}"
    yield f"{score['verdict'].upper()} ({score['label']}), {score['points']:.1f} of 100 points"
    for finding in score["findings"]:
        if finding["verdict"] != "pass":
            yield f"{finding['verdict'].upper()} {finding['detector']}: {finding['reason']}"
