"""The tables of the SQL run store, the same in SQLite and PostgreSQL. JSON is kept as text.

Text and not PostgreSQL's jsonb, which refuses what JSON may say: the character U+0000 and lone surrogates
(https://www.postgresql.org/docs/current/datatype-json.html). Prompts are people's text; both occur.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

VERSION = 2
"""The version of these tables. Raise it with every change, and let `database` bring older files up to it."""

metadata = MetaData()

schema = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

runs = Table(
    "runs",
    metadata,
    # The order of arrival. SQLite counts up by itself only in a column that is called INTEGER.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_s", Double, nullable=False),
    Column("started_s", Double),
    Column("finished_s", Double, index=True),
    Column("claims", Integer, nullable=False, default=0),
    Column("fruitless_claims", Integer, nullable=False, default=0),
    Column("owner", Text),
    Column("lease_until_s", Double),
    Column("is_cancel_requested", Boolean, nullable=False, default=False),
    Column("error", Text),
    Column("report", Text),
    Column("last_seq", Integer, nullable=False, default=0),
    Column("seed_origin", Text),
    Index("runs_by_state", "state", "number"),
    Index("runs_by_pipeline", "pipeline", "number"),
)

events = Table(
    "events",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", Text, nullable=False),
    sqlite_with_rowid=False,  # one tree to write per event, not two
)

results = Table(
    "results",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("node", Text, primary_key=True),
    Column("at_s", Double, nullable=False),
    Column("value", Text, nullable=False),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("seen_s", Double, nullable=False),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("spec", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("created_s", Double, nullable=False),
    Column("finished_s", Double),
    Column("is_cancel_requested", Boolean, nullable=False, default=False),
)

sweep_cells = Table(
    "sweep_cells",
    metadata,
    Column("sweep_id", String(64), ForeignKey("sweeps.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(64), nullable=False, unique=True),  # of a run that need not be there yet
    Column("pipeline", Text, nullable=False),
    Column("axes", Text, nullable=False),
    Column("score_node", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("seed_origin", Text),
    Column("result", Text),
)

tallies = Table(
    "tallies",
    metadata,
    Column("name", Text, primary_key=True),
    Column("labels", Text, primary_key=True),
    Column("value", Double, nullable=False),
)
