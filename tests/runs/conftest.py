"""A real PostgreSQL server for the session, and a store on either database for every test that asks for one."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from serve_app.runs.sql import SqlRunStore

_SERVER_USER = "postgres"


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now_s: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass(frozen=True)
class PostgresServer:
    """A server on a free port of this machine, with its data in a directory of its own."""

    binaries: Path
    data: Path
    port: int

    def start(self) -> None:
        # Processes are killed here, never the machine: nothing needs to reach the disk.
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.data} -c fsync=off"
        self._run("initdb", "-D", str(self.data), "-A", "trust", "-U", _SERVER_USER, "--no-sync")
        self._run("pg_ctl", "-D", str(self.data), "-o", options, "-l", str(self.data / "log"), "-w", "start")

    def guard(self) -> subprocess.Popen[bytes]:
        """Start what stops the server when its input ends: at the session's end, or when the session is killed."""
        stop = self._command("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")
        script = f"cat; {shlex.join(stop)}; rm -rf {shlex.quote(str(self.data))}"
        # A session of its own, or Ctrl-C would end the guard together with the tests.
        return subprocess.Popen(
            ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True
        )

    def url(self, schema: str) -> str:
        """The URL of one schema in the server's database: as good as a database of its own, and made at once."""
        return f"postgresql+psycopg://{_SERVER_USER}@127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{schema}"

    def execute(self, statement: str) -> None:
        engine = create_engine(self.url("public"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._command(program, *arguments), check=True, stdout=subprocess.DEVNULL, timeout=60, cwd="/")

    def _command(self, program: str, *arguments: str) -> list[str]:
        # The server refuses to run as root, which is who a container's tests are.
        prefix = ["runuser", "-u", _SERVER_USER, "--"] if os.getuid() == 0 else []
        return [*prefix, str(self.binaries / program), *arguments]


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    binaries = _binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed, and CI tests both stores: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed")
    data = Path(tempfile.mkdtemp(prefix="greenlight-postgres-"))
    if os.getuid() == 0:
        shutil.chown(data, _SERVER_USER, _SERVER_USER)
    server = PostgresServer(binaries, data, _free_port())
    guard = server.guard()
    try:
        server.start()
        yield server
    finally:
        guard.communicate(timeout=60)


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    schema = f"runs_{next(_numbers)}"
    server.execute(f"CREATE SCHEMA {schema}")
    return server.url(schema)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(url: str, clock: Clock) -> Iterator[Callable[[], SqlRunStore]]:
    """Opens further stores on the test's database, as other processes would; all share the test's clock."""
    opened: list[SqlRunStore] = []

    def another() -> SqlRunStore:
        opened.append(SqlRunStore(url, clock))
        return opened[-1]

    yield another
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], SqlRunStore]) -> SqlRunStore:
    return open_store()
