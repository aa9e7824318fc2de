"""The admin API over HTTP: what operators do to batches and runs, and what is refused with its reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

import headrace
from governance import seed
from governance.schema import open_database
from handlers.access import synchronize_user_access
from headrace.config.settings import load_settings
from headrace.database import Database, migration
from headrace.database.states import BatchState
from headrace.database.tables import batches
from headrace.service import create_app
from headrace.service.assembly import assemble
from tests.queue_in_memory import QueueInMemory

ROOT = Path(__file__).resolve().parents[2]
ADMIN = {"Authorization": "Bearer secret"}
CRON = {"X-Appengine-Cron": "true"}


@dataclass
class Site:
    """The reference application behind its endpoints, and a run of three batches."""

    client: FlaskClient
    tasks: QueueInMemory
    database: Database
    run_id: str = ""

    def get(self, path: str) -> Any:
        answer = self.client.get(path, headers=ADMIN)
        assert answer.status_code == 200, answer.text
        return answer.json

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        answer = (
            self.client.post(path, headers=ADMIN, json=body)
            if body is not None
            else self.client.post(path, headers=ADMIN)
        )
        return answer.status_code, answer.json if answer.data else None

    def put_in_state(self, state: BatchState, cause: str = "", error: str = "") -> list[int]:
        """All batches of the run are in that state, without a task; their ids."""
        with self.database.write() as connection:
            values = {
                "state": state,
                "cause": cause,
                "error": error,
                "ended_at": 1 if state is BatchState.DEAD else None,
            }
            connection.execute(update(batches).where(batches.c.run_id == self.run_id).values(values))
            ids = list(connection.execute(select(batches.c.id).order_by(batches.c.id)).scalars())
        self.tasks.tasks.clear()
        return ids


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    url = f"sqlite:///{tmp_path / 'application.db'}"
    with open_database(url) as database:
        seed.fill(database, 120, seed=1, at=1_800_000_000.0)
    database = Database(url)
    migration.upgrade(database)
    tasks = QueueInMemory(queues={"synchronizeAccessQueue", "headraceQueue"})
    settings = load_settings({"HEADRACE_DATABASE_URL": url, "HEADRACE_ADMIN_TOKEN": "secret"}, folder=ROOT)
    app = create_app(settings=settings, assemble=partial(assemble, database=database, driver=tasks))
    site = Site(app.test_client(), tasks, database)
    site.run_id = site.client.get("/v1/cron/synchronizeUserAccess", headers=CRON).headers["X-Run-Id"]
    yield site
    database.close()


def test_a_dead_batch_is_listed_shown_retried_and_audited(site: Site) -> None:
    first, *_ = site.put_in_state(BatchState.DEAD, "exhausted", "ValueError: no such tier")
    listed = site.get("/api/v1/dead?cause=exhausted&limit=10")["dead"]
    assert [each["batch_id"] for each in listed][-1] == first
    assert site.get("/api/v1/dead?handler=handlers.projects.audit_project_access")["dead"] == []
    shown = site.get(f"/api/v1/batches/{first}")
    assert (shown["state"], shown["error"], len(shown["payload"])) == ("dead", "ValueError: no such tier", 50)
    assert site.post(f"/api/v1/dead/{first}/retry") == (204, None)
    assert [name.rpartition("-")[2] for name in site.tasks.tasks] == ["2"], "it is pushed, and runs"
    assert site.get(f"/api/v1/batches/{first}")["state"] == "pushed"
    (row,) = site.get("/api/v1/audit")["audit"]
    assert (row["actor"], row["action"], row["object"]) == ("admin token", "retry_dead", f"batch/{first}")
    assert site.get(f"/api/v1/audit?object=run/{site.run_id}")["audit"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/dead/{}/retry", None),
        ("/api/v1/dead/{}/discard", None),
        ("/api/v1/dead/{}/edit", {"payload": [1]}),
        ("/api/v1/decisions/{}", {"decision": "redo"}),
    ],
)
def test_what_is_not_there_or_not_in_that_state_is_refused_with_the_reason(site: Site, path: str, body: Any) -> None:
    (first, *_) = site.put_in_state(BatchState.RUNNING)
    status, answer = site.post(path.format(first), body)
    assert (status, answer["errorCode"]) == (409, "WRONG_STATE")
    assert f"Batch {first} is running" in answer["message"]
    assert site.post(path.format(4711), body)[0] == 404
    assert site.client.post(path.format(first), json=body).status_code == 401
    assert site.get(f"/api/v1/batches/{first}")["state"] == "running"
    assert site.get("/api/v1/audit")["audit"] == []


def test_a_new_payload_is_held_against_the_handlers_schema(site: Site) -> None:
    (first, *_) = site.put_in_state(BatchState.DEAD, "permanent")
    status, answer = site.post(f"/api/v1/dead/{first}/edit", {"payload": [1, "two"]})
    assert (status, answer["parameters"]) == (400, {"pointer": "/payload/1"})
    assert site.post(f"/api/v1/dead/{first}/edit", {})[0] == 400
    assert site.post(f"/api/v1/dead/{first}/edit", {"payload": [1, 2]}) == (204, None)
    shown = site.get(f"/api/v1/batches/{first}")
    assert (shown["payload"], shown["items"]) == ([1, 2], 2)


def test_all_that_match_are_retried_or_discarded(site: Site) -> None:
    site.put_in_state(BatchState.DEAD, "exhausted")
    assert site.post("/api/v1/dead:retry", {"cause": "poison"}) == (200, {"retried": 0})
    assert site.post("/api/v1/dead:retry", {"cause": "no cause"})[0] == 400
    assert site.post("/api/v1/dead:retry")[0] == 400
    assert site.post("/api/v1/dead:retry", {"run_id": site.run_id}) == (200, {"retried": 3})
    site.put_in_state(BatchState.DEAD, "exhausted")
    assert site.post("/api/v1/dead:discard", {}) == (200, {"discarded": 3})
    assert site.get("/api/v1/dead")["dead"] == []


def test_a_batch_that_waits_for_a_decision_is_shown_and_decided(site: Site) -> None:
    first, second, third = site.put_in_state(BatchState.UNDECIDED)
    assert [each["batch_id"] for each in site.get("/api/v1/decisions")["decisions"]] == [third, second, first]
    assert site.post(f"/api/v1/decisions/{first}", {"decision": "perhaps"})[0] == 400
    assert site.post(f"/api/v1/decisions/{first}", {"decision": "redo"}) == (204, None)
    assert site.post(f"/api/v1/decisions/{second}", {"decision": "resume"}) == (204, None)
    assert site.post(f"/api/v1/decisions/{third}", {"decision": "skip"}) == (204, None)
    states = [site.get(f"/api/v1/batches/{batch_id}")["state"] for batch_id in (first, second, third)]
    assert states == ["pushed", "done", "cancelled"]
    assert len(site.tasks.tasks) == 1


def test_a_run_is_cancelled_with_a_reason_and_once(site: Site) -> None:
    assert site.post(f"/api/v1/runs/{site.run_id}/cancel", {"reason": "wrong day"}) == (204, None)
    shown = site.get(f"/api/v1/runs/{site.run_id}")
    assert (shown["state"], shown["reason"], shown["tasks"]["cancelled"]) == ("cancelled", "wrong day", 3)
    assert site.get("/api/v1/runs?state=cancelled")["runs"][0]["run_id"] == site.run_id
    assert site.post(f"/api/v1/runs/{site.run_id}/cancel")[0] == 409
    assert site.post(f"/api/v1/runs/{'f' * 32}/cancel")[0] == 404


def test_a_run_is_retried_by_its_dead_batches(site: Site) -> None:
    assert site.post(f"/api/v1/runs/{site.run_id}/retry")[0] == 409
    site.put_in_state(BatchState.DEAD, "vanished")
    assert site.post(f"/api/v1/runs/{site.run_id}/retry") == (200, {"retried": 3})
    assert site.post(f"/api/v1/runs/{'f' * 32}/retry")[0] == 404


def test_a_pushed_run_is_an_operation_of_its_owner_alone(site: Site) -> None:
    with site.client.application.app_context():
        with headrace.transaction() as connection:
            run_id = headrace.push(connection, synchronize_user_access, [1], owner="ada").run_id
        shown = headrace.operation(run_id, "ada")
        assert shown is not None
        assert (shown["id"], shown["state"], shown["result"]) == (run_id, "QUEUED", None)
        assert headrace.operation(run_id, "grace") is None
        assert headrace.operation("f" * 32, "ada") is None


def test_a_batch_is_named_by_a_number(site: Site) -> None:
    assert site.client.get("/api/v1/batches/seven", headers=ADMIN).status_code == 400
    assert site.client.get("/api/v1/batches/4711", headers=ADMIN).status_code == 404
