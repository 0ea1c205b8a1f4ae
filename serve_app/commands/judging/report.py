"""The folder that is left: report.json and index.html."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from serve_app.commands.judging.judgement import Judgement
from serve_app.commands.judging.page import Masthead, page

JUDGED_EXIT, REJECTED_EXIT, UNJUDGED_EXIT = 0, 3, 1
"""Everything passed or was warned of; something failed or was rejected; something could not be judged."""


@dataclass(frozen=True)
class Report:
    """Judgements, ``when`` they were made, and what else belongs into the document."""

    title: str
    when: str
    judgements: Sequence[Judgement]
    more: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "version": version("greenlight-serve"),
            "when": self.when,
            "counts": dict(Counter(judgement.word for judgement in self.judgements)),
            **self.more,
            "files": [judgement.as_json() for judgement in self.judgements],
        }

    def write(self, folder: Path) -> None:
        """Write report.json and index.html into ``folder``."""
        text = json.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        masthead = Masthead(self.title, self.when, version("greenlight-serve"))
        (folder / "index.html").write_text(page(self.judgements, masthead), encoding="utf-8")


def exit_code(judgements: Sequence[Judgement]) -> int:
    """Return 1 when something could not be judged, else 3 when something failed or was rejected, else 0."""
    words = {judgement.word for judgement in judgements}
    if "error" in words:
        return UNJUDGED_EXIT
    return REJECTED_EXIT if words & {"fail", "reject"} else JUDGED_EXIT
