"""`greenlight inspect FILE...`: what a picture or a video is, and what it says of how it was made."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serve_app.commands.inspecting.anatomy import Anatomy

_LONGEST = 2000
"""Characters of one value on a terminal; JSON has all of them."""
_MOST_DURATIONS = 12


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "inspect",
        help="say what files are, and what made them",
        description="Say what pictures and videos are, by their bytes and not by their names: size, frames, exact "
        "rate, codec, bit depth, colour tags, sound and durations; and what they say of how they were made: seed, "
        "model, adapters and parameters as Greenlight writes them, and the texts of other programs as they stand.",
        epilog="exit codes: 0 every file is whole; 1 one is not, or cannot be read, and is named; 2 wrong usage",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="pictures and videos")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.add_argument(
        "--decode", action="store_true", help="decode every frame of a video too, to find damage within"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what every file is; return 1 if one cannot be read or is damaged."""
    from serve_app.commands.inspecting.anatomy import look_into

    found = [look_into(path, arguments.decode) for path in arguments.files]
    if arguments.json:
        sys.stdout.write(json.dumps([each.as_json() for each in found], indent=1) + "\n")
    else:
        sys.stdout.write("\n\n".join("\n".join(_lines(each)) for each in found) + "\n")
    return int(any(each.error is not None for each in found))


def _lines(found: Anatomy) -> Iterator[str]:
    from serve_app.commands.judging.files import shown

    yield shown(found.path)
    if found.size_bytes:
        yield _row("kind", f"{found.kind}, {found.size_bytes} bytes")
    for name, value in found.facts.items():
        if value is not None:
            yield _row(name, _words(value))
    if found.facts and "audio" in found.facts and found.facts["audio"] is None:
        yield _row("audio", "none")
    for warning in found.warnings:
        yield _row("warning", warning)
    if found.error is not None:
        yield _row("error", found.error[1])
    if found.embedded.origin is not None:
        yield "  made from"
        yield from (_row(name, _words(value), 4) for name, value in sorted(found.embedded.origin.items()))
    for place, text in found.embedded.texts.items():
        yield f"  text in {_safe(place)}"
        yield from (f"    {line}" for line in _safe(text).splitlines())


def _row(name: str, words: str, indent: int = 2) -> str:
    return f"{' ' * indent}{_safe(name):<14} {_safe(words)}"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    if isinstance(value, list) and value and len(set(map(str, value))) == 1 and len(value) > 1:
        return f"{_words(value[0])} each"
    if isinstance(value, list):
        some = ", ".join(_words(each) for each in value[:_MOST_DURATIONS])
        return some if len(value) <= _MOST_DURATIONS else f"{some} and {len(value) - _MOST_DURATIONS} more"
    return str(value)


def _safe(text: str) -> str:
    """Return a foreign text without what a terminal would obey, and not endless."""
    plain = "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}... ({len(plain)} characters)"
