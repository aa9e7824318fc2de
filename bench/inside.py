"""The service's own WSGI application in this process, on a SQLite file: no HTTP, no queue, tokens of its own."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from headrace.config.settings import load_settings
from headrace.database import Database, migration
from headrace.drivers.base import Push, PushOutcome, PushResult
from headrace.service.assembly import assemble
from headrace.service.factory import create_app

APPLICATION = Path(__file__).parent / "application"
ISSUER = "http://issuer.test"
SERVICE = "http://service.test"
ACCOUNT = "tasks@headrace-dev.iam.gserviceaccount.com"
ADMIN = "admin"
Environment = dict[str, Any]
_NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115 - open as long as anything may log


class Pushed:
    """A driver that keeps what it is given, unless it is down."""

    name = "bench"
    max_body = 100_000
    max_delay = 2_592_000.0

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.down = False

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        """Keep them."""
        if self.down:
            return [PushResult(PushOutcome.UNAVAILABLE)] * len(pushes)
        self.pushes += pushes
        return [PushResult(PushOutcome.PUSHED)] * len(pushes)

    def missing(self, _queue: str, _names: Sequence[str]) -> set[str]:
        """None of them."""
        return set()

    def has_queue(self, _queue: str) -> bool:
        """Every queue is there."""
        return True

    def close(self) -> None:
        """Nothing to let go of."""


class Issuer:
    """Signs one token, and publishes its key."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)

    def token(self) -> str:
        """A token of the queue's account for the service."""
        claims = {"iss": ISSUER, "aud": SERVICE, "email": ACCOUNT, "email_verified": True, "exp": time.time() + 3_600}
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "1"})

    def fetch(self, url: str) -> Mapping[str, Any]:
        """The discovery document, or the key set that it names."""
        if url.endswith("openid-configuration"):
            return {"jwks_uri": f"{ISSUER}/keys"}
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [public | {"kid": "1"}]}


class Inside:
    """A service that runs in this process: what it is asked, and what it pushed."""

    def __init__(self, app: Flask, database: Database, driver: Pushed, token: str) -> None:
        self.app = app
        self.database = database
        self.driver = driver
        self._token = token

    def start(self, path: str, items: int) -> list[Push]:
        """Start a job that splits into so many batches of one item; its pushes."""
        os.environ["HEADRACE_BENCH_ITEMS"] = str(items)
        self.driver.pushes.clear()
        call(self.app, self.request(path))
        return list(self.driver.pushes)

    def request(self, path: str, *, token: str | None = None) -> Environment:
        """A GET, by the scheduler or with another token."""
        headers = Headers({"Authorization": f"Bearer {token or self._token}"})
        return EnvironBuilder(path=path, headers=headers).get_environ()

    def delivery(self, push: Push) -> Environment:
        """The push of a task, as a queue makes it."""
        headers = Headers(
            {
                "Authorization": f"Bearer {self._token}",
                "X-CloudTasks-QueueName": push.queue,
                "X-CloudTasks-TaskName": push.name,
                "X-CloudTasks-TaskRetryCount": "0",
                "X-CloudTasks-TaskExecutionCount": "0",
                "X-CloudTasks-TaskETA": f"{time.time():.6f}",
                "User-Agent": "Google-Cloud-Tasks",
                **dict(push.headers),
            }
        )
        path = push.url.removeprefix(SERVICE)
        return EnvironBuilder(
            path=path, method="POST", data=push.body, content_type="application/json", headers=headers
        ).get_environ()


@contextmanager
def inside(folder: Path, database_url: str | None = None) -> Iterator[Inside]:
    """The bench's application on its own SQLite file in `folder`, or on another database.

    Log lines are made and written, but not between figures.
    """
    issuer, driver = Issuer(), Pushed()
    settings = load_settings(
        {
            "HEADRACE_DATA": str(folder),
            "HEADRACE_ENV": "bench",
            "HEADRACE_SERVICE_URL": SERVICE,
            "HEADRACE_TASK_SERVICE_ACCOUNT": ACCOUNT,
            "HEADRACE_SCHEDULER_SERVICE_ACCOUNT": ACCOUNT,
            "HEADRACE_TOKEN_ISSUER": ISSUER,
            "HEADRACE_ADMIN_TOKEN": ADMIN,
            "HEADRACE_DATABASE_URL": database_url or "",
        },
        folder=APPLICATION,
    )
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url)
    migration.upgrade(database)
    app = create_app(
        settings=settings,
        assemble=lambda *parts: assemble(*parts, database=database, driver=driver),
        fetch=issuer.fetch,
    )
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(_NOWHERE))
    yield Inside(app, database, driver, issuer.token())
    database.close()


def call(app: Flask, environment: Environment) -> bytes:
    """The body of an answer that is 2xx; AssertionError for any other."""
    statuses: list[str] = []

    def start_response(status: str, _headers: Any, _error: Any = None) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda _written: None

    answer = app.wsgi_app(environment, start_response)
    body = b"".join(answer)
    answer.close()  # type: ignore[attr-defined]
    assert statuses[0].startswith("2"), (statuses, body)
    return body
