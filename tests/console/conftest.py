"""The reference application with its console, on a queue that the test delivers by hand."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from governance import seed
from governance.schema import open_database
from headrace.config.settings import load_settings
from headrace.database import Database, migration
from headrace.service import create_app
from headrace.service.assembly import assemble
from tests.queue_in_memory import QueueInMemory

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tasks() -> QueueInMemory:
    return QueueInMemory(queues={"synchronizeAccessQueue", "auditProjectQueue", "directoryQueue", "headraceQueue"})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'application.db'}"
    with open_database(url) as opened:
        seed.fill(opened, 120, seed=1, at=1_800_000_000.0)
    database = Database(url)
    migration.upgrade(database)
    yield database
    database.close()


@pytest.fixture
def visitor(tmp_path: Path, database: Database, tasks: QueueInMemory) -> FlaskClient:
    """A browser that is not logged in."""
    variables = {
        "HEADRACE_DATABASE_URL": f"sqlite:///{tmp_path / 'application.db'}",
        "HEADRACE_ADMIN_TOKEN": "secret",
    }
    settings = load_settings(variables, folder=ROOT)
    return create_app(settings=settings, assemble=partial(assemble, database=database, driver=tasks)).test_client()


@pytest.fixture
def browser(visitor: FlaskClient) -> FlaskClient:
    """A browser that is."""
    assert visitor.post("/console/login", data={"token": "secret"}).status_code == 303
    return visitor


def csrf_of(browser: FlaskClient) -> str:
    """The word that the forms of this log-in carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/console").text)
    assert found is not None
    return found[1]
