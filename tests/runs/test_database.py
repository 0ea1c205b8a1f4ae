"""Opening a database, refusing a wrong one, and what happens when it goes away."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from serve_app.core.errors import Misconfigured, Unavailable
from serve_app.runs.database import Database
from serve_app.runs.sql import SqlRunStore
from serve_app.runs.tables import VERSION
from tests.runs.conftest import PostgresServer
from tests.runs.test_store import ask


def test_a_store_with_newer_tables_is_refused(url: str) -> None:
    SqlRunStore(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE schema_version SET version = {VERSION + 1}"))
    engine.dispose()
    with pytest.raises(Misconfigured, match=f"version {VERSION + 1}, and this release has {VERSION}"):
        SqlRunStore(url)


def test_a_store_opens_again_with_what_it_had(url: str) -> None:
    first = SqlRunStore(url)
    run, _ = first.add(ask("one"), max_queued=1)
    first.close()
    second = SqlRunStore(url)
    assert second.get("one") == run
    second.close()


def test_an_error_undoes_the_whole_transaction(url: str) -> None:
    database = Database(url)

    def fail_half_way() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO heartbeats VALUES ('a', 'runner', 1)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM heartbeats")).scalar_one() == 0
    database.close()


def test_threads_that_open_an_empty_store_at_once_all_succeed(url: str) -> None:
    barrier = threading.Barrier(8, timeout=30)

    def open_one(_: int) -> bool:
        barrier.wait()
        SqlRunStore(url).close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(open_one, range(8)))


@pytest.mark.parametrize(
    "url",
    [
        "runs.db",
        "mysql://me@here/runs",
        "postgresql+psycopg2://me@here/runs",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///runs.db?mode=memory",
    ],
)
def test_a_url_that_keeps_nothing_or_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured):
        Database(url)


def test_a_password_is_not_told() -> None:
    with pytest.raises(Misconfigured) as caught:
        Database("mysql://me:hunter2@here/runs")
    assert "hunter2" not in str(caught.value)


# --- SQLite


def test_a_sqlite_file_gets_its_directory(tmp_path: Path) -> None:
    SqlRunStore(f"sqlite:///{tmp_path}/a/b/runs.db").close()
    assert (tmp_path / "a" / "b" / "runs.db").is_file()


def test_a_directory_that_cannot_be_made_is_a_misconfiguration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="directory cannot be made"):
        SqlRunStore(f"sqlite:///{tmp_path}/file/runs.db")


def test_a_file_that_is_no_database_is_a_misconfiguration(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(Misconfigured, match="not a database"):
        SqlRunStore(f"sqlite:///{tmp_path}/runs.db")


def test_a_sqlite_file_is_in_write_ahead_mode_and_syncs_every_commit(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/runs.db")
    with database.read() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    database.close()
    assert settings == ["wal", 2, 1]


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/runs.db")
    with database.write() as writer:
        writer.execute(text("INSERT INTO heartbeats VALUES ('a', 'runner', 1)"))
        started_s = time.monotonic()
        with database.read() as reader:
            assert reader.execute(text("SELECT count(*) FROM heartbeats")).scalar_one() == 0
        assert time.monotonic() - started_s < 1
    database.close()


def test_a_writer_that_read_before_waits_its_turn(tmp_path: Path) -> None:
    """A deferred transaction would end in "database is locked" here, at once and despite the timeout."""
    database = Database(f"sqlite:///{tmp_path}/runs.db")
    with database.write() as connection:
        connection.execute(text("INSERT INTO heartbeats VALUES ('a', 'runner', 0)"))

    def add_one(_: int) -> None:
        with database.write() as connection:
            seen = connection.execute(text("SELECT seen_s FROM heartbeats")).scalar_one()
            time.sleep(0.002)
            connection.execute(text("UPDATE heartbeats SET seen_s = :seen"), {"seen": seen + 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(40)))
    with database.read() as connection:
        assert connection.execute(text("SELECT seen_s FROM heartbeats")).scalar_one() == 40
    database.close()


def test_a_file_that_another_program_keeps_locked_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.runs.database._WAIT_S", 0.1)
    store = SqlRunStore(f"sqlite:///{tmp_path}/runs.db")
    blocker = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        store.add(ask("one"), max_queued=1)
    blocker.close()
    assert store.add(ask("one"), max_queued=1)[1] is True
    store.close()


# --- PostgreSQL


def test_a_server_that_is_not_there_is_unavailable(postgres: PostgresServer) -> None:
    with pytest.raises(Unavailable):
        SqlRunStore("postgresql+psycopg://me@127.0.0.1:1/runs")


def test_connections_that_died_with_the_server_are_replaced_without_an_error(
    postgres: PostgresServer,
) -> None:
    postgres.execute("CREATE SCHEMA restarted")
    store = SqlRunStore(postgres.url("restarted"))
    store.add(ask("one"), max_queued=1)
    others = "datname = 'postgres' AND pid <> pg_backend_pid()"
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert store.get("one").id == "one"
    store.close()
