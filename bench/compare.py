"""Two results side by side: `python -m bench.compare OLD.jsonl NEW.jsonl [--bench NAME]`

Lines are matched by bench, case and machine (figures of two machines are never put next to each other); the last line
of a case counts, for files are appended to. Each figure is shown old, new, and new by old. `OLD@COMMIT` takes the lines
of one commit, so that a file can be compared with itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

STAMPS = ("bench", "machine", "commit", "case")
Key = tuple[str, str, str]
Line = Mapping[str, Any]


def read(source: str, bench: str | None = None) -> dict[Key, Line]:
    """Return the last line of every (bench, case, machine) in a file, or in one commit's part of it (`FILE@COMMIT`).

    Raise SystemExit, in words, for a file that is missing or is no JSON lines, and for a commit that it has no line of.
    """
    path, _, commit = source.partition("@")
    if not Path(path).is_file():
        raise SystemExit(f"there is no file {path}")
    lines: dict[Key, Line] = {}
    for number, text in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            key = (line["bench"], line["case"], line["machine"])
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"{path}:{number}: is no line of a bench: {error!r}") from error
        if (not commit or line["commit"] == commit) and bench in (None, line["bench"]):
            lines[key] = line
    if not lines:
        raise SystemExit(f"{source}: has no such line")
    return lines


def rows(old: Mapping[Key, Line], new: Mapping[Key, Line]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield (bench and case, figure, old, new, ratio) of every figure that both have; the ratio is empty for words."""
    for key in (each for each in new if each in old):
        for name, after in new[key].items():
            before = old[key].get(name)
            if name in STAMPS or before is None or after is None:
                continue
            yield f"{key[0]}: {key[1]}", name, _shown(before), _shown(after), _ratio(before, after)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _ratio(before: Any, after: Any) -> str:
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (before, after))
    return f"{after / before:.3f}" if are_numbers and before else ""


def main() -> int:
    """Print the table, and what only one side has; return 1 if nothing could be compared."""
    parser = argparse.ArgumentParser(description="Hold two results of benches side by side.")
    parser.add_argument("old", help="JSON lines, or FILE@COMMIT")
    parser.add_argument("new", help="JSON lines, or FILE@COMMIT")
    parser.add_argument("--bench", help="only lines of this bench")
    arguments = parser.parse_args()
    old, new = read(arguments.old, arguments.bench), read(arguments.new, arguments.bench)
    table = [("case", "figure", "old", "new", "new / old"), *rows(old, new)]
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    for row in table:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
    for side, mine, other in (("old", old, new), ("new", new, old)):
        for key in sorted(set(mine) - set(other)):
            sys.stdout.write(f"only {side}: {' | '.join(key)}\n")
    return 0 if len(table) > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
