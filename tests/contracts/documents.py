"""The documents, cut into what can be checked: fenced blocks, shell commands, links."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The path in the comment that the block begins with, if it is one."""
        found = re.match(r"# ([\w/]+\.py)\n", self.text)
        return found[1] if found else None


def blocks(page: Path, language: str) -> list[Block]:
    """Return the page's fenced blocks in a language, in order."""
    found = (Block(*match.groups()) for match in _FENCE.finditer(page.read_text(encoding="utf-8")))
    return [block for block in found if block.language == language]


def prose(page: Path) -> str:
    """Return the page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[str]:
    """Return every line of the page's shell blocks, without comments."""
    lines = (line.partition("  #")[0].strip() for block in blocks(page, "sh") for line in block.text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def copy_of_the_house(folder: Path) -> Path:
    """Copy what a reader has in a checkout into ``folder``, for commands and examples that change files."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("serve_app", "deployments", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("cluster.yaml", "Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder
