"""Showing a run as it happens: one live bar per step on a terminal, one line per step elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from serve_app.commands.followed import Happening


class Display:
    """Follows happenings to the end. ``console`` is where to."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description:<28}"), BarColumn(36), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[tuple[int, str], TaskID] = {}

    def show(self, happenings: Iterable[Happening]) -> Happening | None:
        """Show everything and return the last happening; None when there was nothing."""
        last = None
        with self._bars:
            for last in happenings:
                self._show(last.kind, last.data)
        return last

    def _show(self, kind: str, data: dict[str, Any]) -> None:
        match kind:
            case "attempt.started":
                self._say(f"attempt {data['attempt']} of {data['of']}, seed {data['seed']}")
            case "step.started":
                self._bar(data, total=None)
            case "step.progress":
                self._bars.update(self._bar(data, data["of"]), completed=data["done"], total=data["of"])
            case "step.finished":
                self._finish(data)
            case "step.rejected":
                where = "the clip" if data["frame"] is None else f"frame {data['frame']}"
                self._say(f"at {data['node']}: {data['detector']} in {where}: {data['reason']}", "rejected", "red")
            case "step.retried" | "attempt.restarted" | "budget.spent" | "best.kept":
                self._say(f"{kind}: {data.get('reason') or data}")

    def _bar(self, data: dict[str, Any], total: float | None) -> TaskID:
        key = (data["attempt"], data["node"])
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(data["node"], total=total)
        return self._tasks[key]

    def _finish(self, data: dict[str, Any]) -> None:
        bar = self._bar(data, 1)
        total = self._bars.tasks[self._bars.task_ids.index(bar)].total or 1
        seconds = f"{data['seconds']:.1f} s"
        self._bars.update(bar, total=total, completed=total, description=f"{data['node']} [dim]{seconds}[/]")
        self._bars.stop_task(bar)
        if not self._console.is_terminal:
            self._say(f"{data['node']} done in {seconds}")
        for warning in data["warnings"]:
            self._say(warning, f"{data['node']}:", "yellow")

    def _say(self, text: str, head: str = "", style: str = "") -> None:
        """Print a line, its head in a colour. Never as markup: a reason may have brackets of its own."""
        self._console.print(Text.assemble((f"{head} " if head else "", style), text), highlight=False)
