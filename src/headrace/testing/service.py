"""A service in the test's own process: the application of a folder, behind its real guards, without a server."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from flask import Response
from flask.testing import FlaskClient
from sqlalchemy import Connection

from headrace.clock import ManualClock
from headrace.cloud.files import make_queues
from headrace.cloud.tokens import TokenIssuer, make_key
from headrace.config.queues import load_queue_file
from headrace.config.settings import TEST, load_settings
from headrace.contract.answers import answer_error
from headrace.contract.operations import Contract, Operation
from headrace.database import Database, migration
from headrace.engine.model import OidcToken
from headrace.service.assembly import assemble
from headrace.service.current import service_of
from headrace.service.factory import create_app
from headrace.testing.manual import ManualQueue
from headrace.testing.pushes import Expected, Pushed, explain_failure

ADMIN_TOKEN = "admin-token-of-the-test"  # noqa: S105 - it opens nothing but a test's own service
_ISSUER = "http://issuer.test"
_NAME_MEMORY = 9 * 86_400.0


class ServiceUnderTest:
    """The application in `folder`, on a database of its own and a clock that stands still until it is moved.

    What it pushes waits in `queue` until the test has it delivered, or with `inline` does not wait. `data` is an
    empty folder for the database, where `database_url` names no other. `environment` picks the overlays of
    queue.yaml; `variables` are settings on top of those of the test. `now` is in epoch seconds.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        *,
        now: float,
        database_url: str | None = None,
        environment: str = TEST,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Raises ConfigError and ContractError with everything that is wrong in the folder."""
        self.settings = load_settings(
            {
                "HEADRACE_ENV": environment,
                "HEADRACE_DATA": str(data),
                "HEADRACE_DATABASE_URL": database_url or f"sqlite:///{data / 'application.db'}",
                "HEADRACE_SERVICE_URL": "http://service.test",
                "HEADRACE_TASK_SERVICE_ACCOUNT": "tasks@service.test",
                "HEADRACE_SCHEDULER_SERVICE_ACCOUNT": "scheduler@service.test",
                "HEADRACE_TOKEN_ISSUER": _ISSUER,
                "HEADRACE_ADMIN_TOKEN": ADMIN_TOKEN,
                **(variables or {}),
            },
            folder=folder,
        )
        self.clock = ManualClock(now)
        self._issuer = TokenIssuer(_ISSUER, _key(), self.clock)
        self.queue = self._make_queue()
        self.database = Database(self.settings.database_url)
        migration.upgrade(self.database)
        self.app = create_app(
            folder,
            self.settings,
            self.clock,
            assemble=lambda settings, clock, contract: assemble(
                settings, clock, contract, database=self.database, driver=self.queue
            ),
            fetch=self._fetch_keys,
        )
        self.app.register_error_handler(Exception, self._answer_error)
        self.queue.connect(self.app)

    @property
    def contract(self) -> Contract:
        """What openapi.yaml declares."""
        return service_of(self.app).contract

    @property
    def client(self) -> FlaskClient:
        """A client of its endpoints; those of the admin API take `ADMIN_TOKEN`."""
        return self.app.test_client()

    def start(self, job: Callable[..., Any] | str, **parameters: Any) -> str:
        """Call a job's or a sweep's endpoint as the scheduler does; the id of the run, "" where none began.

        `job` is the function or its operationId. AssertionError when the service refuses.
        """
        __tracebackhide__ = True
        operation = self._operation(job)
        token = self._issuer.token(OidcToken(self.settings.scheduler_service_account or "", self.settings.service_url))
        answer = self.client.get(operation.path, query_string=parameters, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code < 400, f"{operation.path} answered {answer.status_code}: {answer.text}"
        return answer.headers.get("X-Run-Id", "")

    def run(self, run_id: str) -> Mapping[str, Any]:
        """The run with its counts, as the admin API shows it."""
        found = service_of(self.app).reader.show(run_id)
        assert found is not None, f"there is no run {run_id}"
        return found

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction in which `headrace.push` works as it does in a request."""
        with self.app.app_context(), self.database.write() as connection:
            yield connection

    @contextmanager
    def inline(self) -> Iterator[None]:
        """What is pushed in this block is delivered at once, in the same thread, after the commit.

        What that delivery pushes follows it. A delivery that fails waits for its retry, as it always does.
        """
        before, self.queue.at_once = self.queue.at_once, True
        try:
            yield
        finally:
            self.queue.at_once = before

    def assert_pushed(
        self, handler: Callable[..., Any] | str, payload: Any = None, count: int | None = None
    ) -> list[Pushed]:
        """Tasks for this handler were pushed, delivered or not: `count` of them, or at least one.

        `handler` is the function or its operationId; with `payload`, those tasks whose payload is equal.
        """
        __tracebackhide__ = True
        path = self._operation(handler).path
        body = orjson.dumps(payload) if isinstance(payload, str) else payload
        expected = Expected(body, url=path)
        pushed = self.queue.pushed()
        fitting = [each for each in pushed if not expected.differences(each)]
        if len(fitting) != count if count is not None else not fitting:
            raise AssertionError(explain_failure("the queues", count, expected, pushed))
        return fitting

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _operation(self, function: Callable[..., Any] | str) -> Operation:
        for operation in self.contract.operations:
            if function in (operation.function, operation.operation_id):
                return operation
        raise AssertionError(f"openapi.yaml declares no operation for {function}")

    def _make_queue(self) -> ManualQueue:
        settings, path = self.settings, self.settings.app / "queue.yaml"
        file = load_queue_file(path, settings.env) if path.exists() else None
        queues = [] if file is None else make_queues(file, settings.project, settings.location, _NAME_MEMORY)
        return ManualQueue(
            queues, self.clock, self._issuer, account=settings.task_service_account, audience=settings.service_url
        )

    def _answer_error(self, error: Exception) -> Response:
        self.queue.note(error)
        return answer_error(error)

    def _fetch_keys(self, url: str) -> Mapping[str, Any]:
        jwks = f"{_ISSUER}/jwks"
        return self._issuer.jwks() if url == jwks else self._issuer.discovery(jwks)


@cache
def _key() -> RSAPrivateKey:
    """One for all tests: to make it takes as long as a test."""
    return make_key()
