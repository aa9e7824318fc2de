"""The reference application behind its endpoints: a service in this process, a queue in memory, a clock to move.

What it pushes stays on the queue until a test has it delivered, over HTTP with a token as a queue's own.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, Table, select
from werkzeug.test import TestResponse

from governance.schema import create
from governance.sign_in import make_token
from headrace.clock import ManualClock
from headrace.config import load_queue_file
from headrace.config.settings import load_settings
from headrace.database import Database, migration
from headrace.drivers.base import Push
from headrace.service import create_app
from headrace.service.assembly import assemble
from tests.contract.issuer import ISSUER, Issuer
from tests.queue_in_memory import QueueInMemory

APP = Path(__file__).resolve().parents[2]
NOW = 1_790_000_000.0
SERVICE = "http://127.0.0.1:8080"
CRON = {"X-Appengine-Cron": "true"}
ADMIN = {"Authorization": "Bearer secret"}


@dataclass
class Governance:
    """The application while a test uses it."""

    app: Flask
    database: Database
    queue: QueueInMemory
    clock: ManualClock
    issuer: Issuer
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def start(self, path: str) -> str:
        """Call a cron endpoint; the id of the run."""
        answer = self.client.get(path, headers=CRON)
        assert answer.status_code == 204, answer.text
        return answer.headers["X-Run-Id"]

    def show(self, run_id: str) -> dict[str, Any]:
        """The run as the admin API shows it."""
        shown: dict[str, Any] = self.client.get(f"/api/v1/runs/{run_id}", headers=ADMIN).json
        return shown

    def sign_in(self, email: str) -> dict[str, str]:
        """The headers of a user's requests."""
        if email not in self._tokens:
            with self.database.write() as connection:
                self._tokens[email] = make_token(connection, email, self.clock.now())
        return {"Authorization": f"Bearer {self._tokens[email]}"}

    def deliver(self, push: Push) -> TestResponse:
        """One push of a task, as its queue makes it."""
        account = "tasks@headrace-dev.iam.gserviceaccount.com"
        token = self.issuer.token(account=account, audience=SERVICE, now=self.clock.now())
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-CloudTasks-QueueName": push.queue,
            "X-CloudTasks-TaskName": push.name,
            "X-CloudTasks-TaskRetryCount": "0",
            **dict(push.headers),
        }
        return self.client.post(push.url.removeprefix(SERVICE), data=push.body, headers=headers)

    def drain(self, *, within: float = 0.0) -> list[Push]:
        """Deliver what is on the queue, and what that pushes, until nothing is due; time moves on by `within` at most.

        Each task that is answered 2xx is gone; one that is not fails the test. The pushes, in order.
        """
        done: list[Push] = []
        until = self.clock.now() + within
        while due := [each for each in self.queue.tasks.values() if (each.schedule_at or 0) <= until]:
            push = min(due, key=lambda each: each.schedule_at or 0)
            self.clock.advance(max(0.0, (push.schedule_at or 0) - self.clock.now()))
            answer = self.deliver(push)
            assert answer.status_code < 300, (push.url, answer.text)
            del self.queue.tasks[push.name]
            done.append(push)
        return done

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """All rows of a table, in the order of its key."""
        with self.database.read() as connection:
            found = connection.execute(select(table).order_by(*table.primary_key)).mappings()
            return [dict(row) for row in found]

    def ask(self, question: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What a function says of the database."""
        with self.database.read() as connection:
            return question(connection, *arguments, **named)

    def change(self, change: Callable[[Connection], Any]) -> Any:
        """Let a function change the database."""
        with self.database.write() as connection:
            return change(connection)


@contextmanager
def run_governance(url: str) -> Iterator[Governance]:
    """The application on a new database, until the block ends."""
    database, clock, issuer = Database(url), ManualClock(NOW), Issuer()
    migration.upgrade(database)
    with database.write() as connection:
        create(connection)
    queue = QueueInMemory(queues={each.name for each in load_queue_file(APP / "queue.yaml").queues})
    variables = {
        "HEADRACE_DATABASE_URL": url,
        "HEADRACE_ADMIN_TOKEN": "secret",
        "HEADRACE_SERVICE_URL": SERVICE,
        "HEADRACE_TOKEN_ISSUER": ISSUER,
    }
    settings = load_settings(variables, folder=APP)
    behind = partial(assemble, database=database, driver=queue)
    app = create_app(settings=settings, clock=clock, assemble=behind, fetch=issuer.fetch)
    yield Governance(app, database, queue, clock, issuer)
    database.close()


def payload_of(push: Push) -> Any:
    """What a task carries."""
    return json.loads(push.body)
