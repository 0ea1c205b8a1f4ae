"""The SQL database under the run store: opening it, its transactions, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, make_url, select, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from serve_app.core.errors import Misconfigured, Unavailable
from serve_app.runs.migrations import bring_up
from serve_app.runs.tables import VERSION, metadata, schema

_WAIT_S = 30
_CREATION_LOCK = 0x67726E6C  # any number that nobody else's advisory lock on this database has


class Database:
    """A SQLite file or a PostgreSQL database that holds the run store's tables; both are made when they are missing.

    SQLite: write-ahead log, every commit synced to the disk, one writer at a time (a second one waits up to 30 s).
    The file must not lie on a network file system: https://www.sqlite.org/wal.html. PostgreSQL: read committed.
    """

    def __init__(self, url: str) -> None:
        """Open ``sqlite:///file`` or ``postgresql+psycopg://...``; raise Misconfigured or Unavailable."""
        parsed = parse_url(url)
        self._where = parsed.render_as_string(hide_password=True)
        self._engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgres(parsed)
        self._writer = self._engine.execution_options(is_write=True)
        # SQLite's own waiting is a poll with growing pauses and no order; threads of one process can do better.
        self._turn: AbstractContextManager[object] = Lock() if parsed.get_backend_name() == "sqlite" else nullcontext()
        try:
            with self.write() as connection:
                self._make_tables(connection)
        except DatabaseError as error:
            self.close()
            raise Misconfigured(self._where, f"it cannot hold the runs: {error.orig}") from error
        except (Misconfigured, Unavailable):
            self.close()
            raise

    def _make_tables(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            # CREATE TABLE IF NOT EXISTS fails when two sessions run it at once; SQLite has locked the file already.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
        if not inspect(connection).has_table(schema.name):
            metadata.create_all(connection)
            connection.execute(insert(schema).values(version=VERSION))
        version = bring_up(connection, connection.execute(select(schema.c.version)).scalar_one())
        if version != VERSION:
            raise Misconfigured(self._where, f"its tables have version {version}, and this release has {VERSION}")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction that may write: committed at the end of the block, undone by an exception."""
        with self._turn, _translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a transaction that only reads; on SQLite it neither waits for a writer nor holds one up."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    def serialise(self, connection: Connection) -> None:
        """Wait until no other transaction is between its ``serialise`` and its end."""
        connection.execute(select(schema.c.version).with_for_update())  # SQLite: the write lock is held already

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise Unavailable for what the storage did, and leave what the program did as it is."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise Unavailable("the run store", str(error.orig).strip()) from error
    except PoolTimeout as error:
        raise Unavailable("the run store", str(error)) from error


def parse_url(url: str) -> URL:
    """Return ``url`` in its parts; raise Misconfigured unless it can be a run store's. Nothing is opened."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Misconfigured("the run store's url", "it is not a database URL") from error
    where = parsed.render_as_string(hide_password=True)
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    if parsed.drivername != "sqlite":
        raise Misconfigured(where, "the run store is sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")
    if parsed.database in (None, "", ":memory:") or parsed.query:
        raise Misconfigured(
            where, "the run store needs a file and no options: sqlite:///runs.db, sqlite:////data/runs.db"
        )
    return parsed


def _postgres(url: URL) -> Engine:
    try:
        # A pooled connection may have died with the server: test it before use, so that a restart costs nobody a call.
        return create_engine(
            url,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            connect_args={"connect_timeout": _WAIT_S},
            pool_timeout=_WAIT_S,
        )
    except ModuleNotFoundError as error:
        where = url.render_as_string(hide_password=True)
        raise Misconfigured(where, "PostgreSQL needs: pip install 'greenlight-serve[postgres]'") from error


def _sqlite(url: URL) -> Engine:
    file = Path(str(url.database))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(str(url), f"its directory cannot be made: {error}") from error
    engine = create_engine(url, connect_args={"timeout": _WAIT_S}, pool_timeout=_WAIT_S)

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, and late: a read would come before the lock.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        mode = cursor.fetchone()
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()
        if mode != ("wal",):
            raise Misconfigured(str(url), f"this file system offers no write-ahead log, only {mode}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then writes fails at once when another wrote in between, whatever the
        # timeout is; one that takes the write lock first waits its turn. https://www.sqlite.org/lang_transaction.html
        is_write = connection.get_execution_options().get("is_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine
