"""The reference application behind its endpoints, with a queue in memory: what callers of the admin API see."""

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
ADMIN = {"Authorization": "Bearer secret"}
CRON = {"X-Appengine-Cron": "true"}
KEY = "batch_size.handlers.access.synchronize_user_access"


@pytest.fixture
def tasks() -> QueueInMemory:
    return QueueInMemory(queues={"synchronizeAccessQueue", "auditProjectQueue"})


@pytest.fixture
def client(tmp_path: Path, tasks: QueueInMemory) -> Iterator[FlaskClient]:
    url = f"sqlite:///{tmp_path / 'application.db'}"
    with open_database(url) as database:
        seed.fill(database, 120, seed=1, at=1_800_000_000.0)
    database = Database(url)
    migration.upgrade(database)
    settings = load_settings({"HEADRACE_DATABASE_URL": url, "HEADRACE_ADMIN_TOKEN": "secret"}, folder=ROOT)
    yield create_app(settings=settings, assemble=partial(assemble, database=database, driver=tasks)).test_client()
    database.close()


def test_a_batch_size_set_over_http_cuts_the_next_run(client: FlaskClient, tasks: QueueInMemory) -> None:
    answer = client.put("/api/v1/settings", headers=ADMIN, json={"key": KEY, "value": "20"})
    assert (answer.status_code, answer.json["value"], answer.json["default"]) == (200, 20, 50)
    prefer = {"Prefer": "return=representation"}
    started = client.get("/v1/cron/synchronizeUserAccess", headers={**CRON, **prefer})
    assert (started.status_code, started.json["tasks"], started.json["items"]) == (200, 6, 120)
    assert len(tasks.tasks) == 6


def test_a_setting_that_cannot_be_is_refused_and_an_unknown_one_not_found(client: FlaskClient) -> None:
    for value in ("ten", "-1", -1, 0):
        answer = client.put("/api/v1/settings", headers=ADMIN, json={"key": KEY, "value": value})
        assert (answer.status_code, answer.json["parameters"]["pointer"]) == (400, "/value"), value
    answer = client.put("/api/v1/settings", headers=ADMIN, json={"key": "nonsense", "value": "1"})
    assert answer.status_code == 404
    assert client.put("/api/v1/settings", json={"key": KEY, "value": "20"}).status_code == 401


def test_settings_show_value_default_and_source(client: FlaskClient) -> None:
    client.put("/api/v1/settings", headers=ADMIN, json={"key": KEY, "value": 20})
    listed = client.get("/api/v1/settings", headers=ADMIN).json["settings"]
    assert {each["key"]: (each["value"], each["default"], each["source"]) for each in listed}[KEY] == (
        20,
        50,
        "override",
    )
    cleared = client.put("/api/v1/settings", headers=ADMIN, json={"key": KEY, "value": None})
    assert (cleared.json["value"], cleared.json["source"]) == (50, "openapi.yaml")


def test_a_run_is_shown_with_its_items_and_tasks_by_state(client: FlaskClient) -> None:
    run_id = client.get("/v1/cron/synchronizeUserAccess", headers=CRON).headers["X-Run-Id"]
    shown = client.get(f"/api/v1/runs/{run_id}", headers=ADMIN).json
    assert (shown["state"], shown["items"], shown["tasks"]["pushed"], shown["tasks"]["total"]) == ("running", 120, 3, 3)
    assert shown["progress"] == 0
    assert client.get("/api/v1/runs/none", headers=ADMIN).status_code == 404
    (listed,) = client.get("/api/v1/runs?limit=1", headers=ADMIN).json["runs"]
    assert listed["run_id"] == run_id


def test_sweeps_answer_with_what_they_mended(client: FlaskClient) -> None:
    client.get("/v1/cron/synchronizeUserAccess", headers=CRON)
    answers = {
        name: client.get(f"/v1/cron/headrace/{name}", headers=CRON).json
        for name in ("relay", "reap", "reconcile", "resume", "purge")
    }
    assert answers == {
        "relay": {"pushed": 0},
        "reap": {"reaped": 0},
        "reconcile": {"asked": 0, "renewed": 0, "dead": 0, "ended": 0, "limited": 0},
        "resume": {"resumed": 0},
        "purge": {"purged": 0, "keys": 0},
    }
