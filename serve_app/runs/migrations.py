"""Bringing the tables of an earlier release up to this one's, where they lie. Nothing that was recorded is lost."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, text, update

from serve_app.runs.tables import metadata, schema

_CHANGES: Mapping[int, tuple[str, ...]] = {1: ("ALTER TABLE runs ADD COLUMN seed_origin TEXT",)}
"""Version: what makes the next one of its tables. Tables that are new are made without being listed."""


def bring_up(connection: Connection, version: int) -> int:
    """Change tables of ``version`` step by step, inside the caller's transaction, and return the version they have now.

    A version that this release does not know, such as a later one, is left alone.
    """
    found = version
    while found in _CHANGES:
        for statement in _CHANGES[found]:
            connection.execute(text(statement))
        found += 1
    if found != version:
        metadata.create_all(connection)
        connection.execute(update(schema).values(version=found))
    return found
