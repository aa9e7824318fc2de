"""What the service does for a batch beside the handler's work, in CPU time above a bare Flask view.

`python -m bench.bookkeeping`. The service's own WSGI application answers the pushes of a run of no-op batches, each
as a queue would push it: token, guard, validation, lease, outcome, log line; lease and outcome are in a SQLite file,
the outcome durable. The bare view is routed by Flask and decodes the same body. HTTP itself is in neither.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask, request
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from bench.rows import Row, print_rows
from headrace.config.settings import load_settings
from headrace.database import Database, migration
from headrace.drivers.base import Push, PushOutcome, PushResult
from headrace.service.assembly import assemble
from headrace.service.factory import create_app

APPLICATION = Path(__file__).parent / "application"
ISSUER = "http://issuer.test"
SERVICE = "http://service.test"
ACCOUNT = "tasks@headrace-dev.iam.gserviceaccount.com"
QUEUE = "a"
BATCHES = 1_500
ROUNDS = 5
# As many as push at once in the bench of the whole stack, in each of its processes.
THREADS = 8


class Pushed:
    """A driver that keeps what it is given."""

    max_body = 100_000

    def __init__(self) -> None:
        self.pushes: list[Push] = []

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        """Keep them."""
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


def rows() -> Iterator[Row]:
    """The rows of this bench."""
    company, company_bare = measure(threads=THREADS)
    alone, alone_bare = measure(threads=1)
    name = f"bookkeeping of the service, CPU a batch, {THREADS} at once"
    note = f"above bare Flask ({company_bare:.0f} µs); guard, validation, durable outcome and log included"
    yield Row(name, company - company_bare, "µs", 500, note=note)
    yield Row("… one at a time, each with a wait for the disk of its own", alone - alone_bare, "µs")


def measure(*, threads: int) -> tuple[float, float]:
    """Microseconds of CPU that one batch takes in the service, and in a bare view; the fastest of some rounds."""
    # Log lines are made and written, but not between the figures.
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
    ):
        costs = list(_rounds(Path(folder), threads))
    return min(service for service, _ in costs), min(bare for _, bare in costs)


def _rounds(folder: Path, threads: int) -> Iterator[tuple[float, float]]:
    issuer, driver = Issuer(), Pushed()
    settings = load_settings(
        {
            "HEADRACE_DATA": str(folder),
            "HEADRACE_ENV": "bench",
            "HEADRACE_SERVICE_URL": SERVICE,
            "HEADRACE_TASK_SERVICE_ACCOUNT": ACCOUNT,
            "HEADRACE_SCHEDULER_SERVICE_ACCOUNT": ACCOUNT,
            "HEADRACE_TOKEN_ISSUER": ISSUER,
        },
        folder=APPLICATION,
    )
    database = Database(settings.database_url)
    migration.upgrade(database)
    service = create_app(
        settings=settings,
        assemble=lambda *parts: assemble(*parts, database=database, driver=driver),
        fetch=issuer.fetch,
    )
    token = issuer.token()
    os.environ["HEADRACE_BENCH_ITEMS"] = str(BATCHES)
    for _ in range(ROUNDS):
        driver.pushes.clear()
        answer = service.test_client().get("/v1/cron/a", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 204, answer.text
        assert len(driver.pushes) == BATCHES
        yield (
            _cost(service, [_environment(push, token) for push in driver.pushes], threads),
            _cost(bare_application(), [_environment(push, token) for push in driver.pushes], threads),
        )
    database.close()


def bare_application() -> Flask:
    """One view that decodes its body and answers 204."""
    app = Flask("bench")

    def view() -> tuple[str, int]:
        orjson.loads(request.get_data())
        return "", 204

    app.add_url_rule("/v1/cloudTask/a", view_func=view, methods=["POST"])
    return app


def _environment(push: Push, token: str) -> dict[str, Any]:
    headers = Headers(
        {
            "Authorization": f"Bearer {token}",
            "X-CloudTasks-QueueName": push.queue,
            "X-CloudTasks-TaskName": push.name,
            "X-CloudTasks-TaskRetryCount": "0",
            "X-CloudTasks-TaskExecutionCount": "0",
            "X-CloudTasks-TaskETA": f"{time.time():.6f}",
            "User-Agent": "Google-Cloud-Tasks",
        }
    )
    path = push.url.removeprefix(SERVICE)
    return EnvironBuilder(
        path=path, method="POST", data=push.body, content_type="application/json", headers=headers
    ).get_environ()


def _cost(app: Flask, environments: list[dict[str, Any]], threads: int) -> float:
    statuses: list[str] = []

    def start_response(status: str, _headers: Any, _error: Any = None) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda _written: None

    def work(mine: list[dict[str, Any]]) -> None:
        for environment in mine:
            answer = app.wsgi_app(environment, start_response)
            list(answer)
            answer.close()  # type: ignore[attr-defined]

    workers = [threading.Thread(target=work, args=(environments[index::threads],)) for index in range(threads)]
    begun = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spent = time.process_time() - begun
    assert statuses == ["204 NO CONTENT"] * len(environments), set(statuses)
    return spent / len(environments) * 1e6


if __name__ == "__main__":
    print_rows(rows())
