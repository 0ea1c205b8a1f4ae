"""docs/benchmarks.md, made from bench/results: `python -m bench.page > docs/benchmarks.md`"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STAMPS = ("bench", "machine", "commit", "case")
HEAD = """\
# Benchmarks
Made by `python -m bench.page > docs/benchmarks.md` from the lines in `bench/results/`; a test fails when this page
differs from them. What each bench measures, and how, stands at the top of its file in `bench/`. The last measurement of
a case on a machine is shown. `+` behind a commit: with files that differed from it. All machines so far were shared
with other work, so ratios within a run say more than seconds do. **Nothing here was measured on a GPU.**
"""


def page(results: Path = HERE / "results") -> str:
    """Return the page. The same lines give the same text."""
    sections = ["\n".join(_section(path)) for path in sorted(results.glob("*.jsonl"))]
    return HEAD + "".join(f"\n{section}\n" for section in sections)


def _section(path: Path) -> Iterator[str]:
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    latest = {(line["machine"], line["case"]): line for line in lines}
    yield f"## {path.stem}"
    yield _question(path.stem)
    for machine in dict.fromkeys(machine for machine, _ in latest):
        mine = [line for (where, _), line in latest.items() if where == machine]
        commits = ", ".join(dict.fromkeys(f"`{line['commit']}`" for line in mine))
        yield f"\n{machine}, {commits}:"
        for table in _tables(mine):
            yield ""
            yield from table


def _question(bench: str) -> str:
    """Return the first line of a bench's docstring: its question and its command."""
    source = HERE / f"{bench}.py"
    doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) if source.is_file() else None
    return (doc or "").partition("\n")[0]


def _tables(lines: list[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield one table for each set of figures, in the order of their first lines."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for line in lines:
        groups.setdefault(tuple(name for name in line if name not in STAMPS), []).append(line)
    for figures, members in groups.items():
        rows = [("case", *figures), ("---", *("---:" for _ in figures))]
        rows += [(line["case"], *(_shown(line[name]) for name in figures)) for line in members]
        yield [f"| {' | '.join(row)} |" for row in rows]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.stdout.write(page())
