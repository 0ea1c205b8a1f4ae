"""A sweep for people: as text for a terminal, and as one HTML page without scripts. Both from the API's own view."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Sequence[str]
HEAD = ("", "n", "mean", "sd", "95 % interval", "seconds", "USD", "accepted")


@dataclass(frozen=True)
class Comparison:
    """Two settings in pairs: ``differences`` are ``second`` minus ``first`` by measure, each an estimate as JSON."""

    first: str
    second: str
    differences: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return what a report says of it."""
        return {"a": self.first, "b": self.second, "b_minus_a": dict(self.differences)}

    @property
    def head(self) -> Row:
        """The head of its table."""
        return (f"{self.second} minus {self.first}", "n", "mean", "95 % interval", "")

    @property
    def rows(self) -> list[Row]:
        """A row for each measure: the mean difference, its interval, and a word for it."""
        digits = {"points": 2, "seconds": 3, "usd": 7}
        return [
            (
                f"  {name}",
                str(0 if each is None else each["n"]),
                _mean(each, digits[name]),
                _interval(each, digits[name]),
                _word(each),
            )
            for name, each in self.differences.items()
        ]


def lines(view: Mapping[str, Any], comparison: Comparison | None = None) -> Iterator[str]:
    """Yield a sweep as lines of text: its end, a table for each axis, the ladder, and a comparison, if it was one."""
    yield summary(view)
    for table in view["tables"]:
        yield ""
        yield from _aligned([(table["axis"], *HEAD[1:]), *group_rows(table)])
        yield table["reason"]
        yield from table["warnings"]
    if view["ladder"] is not None:
        ladder = view["ladder"]
        yield ""
        yield from _aligned([(ladder["axis"], "mean", "loses", "interval", ""), *rung_rows(ladder)])
        yield f"{ladder['shape']}: {ladder['reason']}"
    if comparison is not None:
        yield ""
        yield from _aligned([comparison.head, *comparison.rows])


def summary(view: Mapping[str, Any]) -> str:
    """Return where a sweep stands, and what it has cost so far, in one line."""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(view["counts"].items()))
    usd = "unknown" if view["usd"] is None else f"{view['usd']:.6f}"
    return f"sweep {view['id']} {view['state']}: {counts} of {view['size']}; {usd} USD, {view['seconds']:.1f} s of work"


def group_rows(table: Mapping[str, Any]) -> list[Row]:
    """Return a row for each value of an axis; the winner has a star."""
    return [
        (
            f"{'* ' if group['name'] == table['winner'] else '  '}{group['name'][:60]}",
            str(0 if group["points"] is None else group["points"]["n"]),
            _mean(group["points"], 2),
            _number(None if group["points"] is None else group["points"]["sd"], 2),
            _interval(group["points"], 2),
            _mean(group["seconds"], 2),
            _mean(group["usd"], 6),
            f"{group['accepted']}/{group['ended']}",
        )
        for group in table["groups"]
    ]


def rung_rows(ladder: Mapping[str, Any]) -> list[Row]:
    """Return a row for each rung, from the top down."""
    return [
        (
            f"  {rung['name']}",
            _mean(rung["score"], 2),
            _mean(rung["loses"], 2),
            _interval(rung["loses"], 2),
            rung["word"],
        )
        for rung in ladder["rungs"]
    ]


def page(view: Mapping[str, Any], comparison: Comparison | None = None) -> str:
    """Return the same as one HTML page, with every cell."""
    parts = [f"<h1>{html.escape(view['id'])}</h1>", f"<p>{html.escape(summary(view))}</p>"]
    if comparison is not None:
        parts.append(_html_table(comparison.head, comparison.rows))
    for table in view["tables"]:
        parts.append(_html_table((table["axis"], *HEAD[1:]), group_rows(table)))
        parts.append(f"<p>{html.escape(' '.join((table['reason'], *table['warnings'])))}</p>")
    if view["ladder"] is not None:
        ladder = view["ladder"]
        parts.append(_html_table((ladder["axis"], "mean", "loses", "interval", ""), rung_rows(ladder)))
        parts.append(f"<p>{html.escape(ladder['shape'] + ': ' + ladder['reason'])}</p>")
    parts.append(_html_table(("cell", "state", "points", "verdict", "seconds", "run"), _cell_rows(view)))
    return f"{_HTML_HEAD}<title>{html.escape(view['id'])}</title>\n<body>\n" + "\n".join(parts) + "\n</body>\n"


_HTML_HEAD = """<!doctype html>
<meta charset="utf-8">
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
table { border-collapse: collapse; margin: 1.5em 0 .3em }
td, th { padding: .2em .9em; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
td:first-child, th:first-child { text-align: left; white-space: pre-wrap }
</style>
"""


def place(cell: Mapping[str, Any]) -> str:
    """Return where a cell lies, in words: `prompt=a seed=7`."""
    return " ".join(f"{name}={value}" for name, value in cell["axes"].items())


def _cell_rows(view: Mapping[str, Any]) -> list[Row]:
    return [
        (
            place(cell),
            cell["state"] or "waiting",
            _number(cell["points"], 2),
            cell["verdict"] or "",
            _number(cell["seconds"], 2),
            cell["run_id"],
        )
        for cell in view["cells"]
    ]


def _html_table(head: Row, rows: Sequence[Row]) -> str:
    def row(cells: Row, tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>\n" + "\n".join([row(head, "th"), *(row(each, "td") for each in rows)]) + "\n</table>"


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    """Yield rows as text: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _mean(estimate: Mapping[str, Any] | None, digits: int) -> str:
    return _number(None if estimate is None else estimate["mean"], digits)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(estimate: Mapping[str, Any] | None, digits: int) -> str:
    if estimate is None or estimate["low"] is None:
        return "-"
    return f"{estimate['low']:.{digits}f} .. {estimate['high']:.{digits}f}"


def _word(estimate: Mapping[str, Any] | None) -> str:
    """Say whether a difference is one."""
    if estimate is None or estimate["low"] is None:
        return "too little data"
    if estimate["low"] > 0:
        return "more"
    return "less" if estimate["high"] < 0 else "no difference shown"
