"""The tables of docs/adapters.md: which adapter files are read for which family, and how, and which are refused."""

from __future__ import annotations

from collections.abc import Sequence

BEGIN = "<!-- The tables below are made from the code; a test compares them. -->"
END = "<!-- End of what is made from the code. -->"


def tables() -> list[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    """Return title, head and rows of each table. Needs no torch."""
    from deployments.nets.lora.tables import conversions, endings, layouts, refusals

    return [
        ("How layers are named", *layouts()),
        ("Layers that are fused or turned", *conversions()),
        ("What a tensor is", *endings()),
        ("Methods that are refused", *refusals()),
    ]


def adapter_files(level: str) -> str:
    """Return the tables as Markdown under headings of ``level`` (`###`)."""
    from serve_app.commands.reference import table

    return "\n".join(f"{level} {title}\n{table(head, rows)}" for title, head, rows in tables())
