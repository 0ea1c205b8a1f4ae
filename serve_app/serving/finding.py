"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Finding:
    """One mistake: ``where`` is its dotted path inside the file, ``message`` says what is wrong."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


def dotted(*parts: str | int) -> str:
    """Return the path through ``parts``: names and list indices, joined by dots."""
    return ".".join(str(part) for part in parts if part != "")


def below(where: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield ``findings`` of a part of a file as findings of the whole, in which the part stands at ``where``."""
    for finding in findings:
        yield replace(finding, where=dotted(where, finding.where))
