"""What the service does for a batch beside the handler's work, in CPU time above a bare Flask view.

`python -m bench.bookkeeping`. The service's own WSGI application answers the pushes of a run of no-op batches, each
as a queue would push it: token, guard, validation, lease, outcome, log line; lease and outcome are in a SQLite file,
the outcome durable. The bare view is routed by Flask and decodes the same body. HTTP itself is in neither.
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
from flask import Flask, request

from bench.inside import Environment, call, inside
from bench.rows import Row, print_rows

BATCHES = 1_500
ROUNDS = 5
# As many as push at once in the bench of the whole stack, in each of its processes.
THREADS = 8


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
    costs = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, inside(Path(folder)) as service:
        for _ in range(ROUNDS):
            pushes = service.start("/v1/cron/a", BATCHES)
            assert len(pushes) == BATCHES
            served = _cost(service.app, [service.delivery(push) for push in pushes], threads)
            bare = _cost(bare_application(), [service.delivery(push) for push in pushes], threads)
            costs.append((served, bare))
    return min(served for served, _ in costs), min(bare for _, bare in costs)


def bare_application() -> Flask:
    """One view that decodes its body and answers 204."""
    app = Flask("bench")

    def view() -> tuple[str, int]:
        orjson.loads(request.get_data())
        return "", 204

    app.add_url_rule("/v1/cloudTask/a", view_func=view, methods=["POST"])
    return app


def _cost(app: Flask, environments: list[Environment], threads: int) -> float:
    answers: list[bytes] = []

    def work(mine: list[Environment]) -> None:
        answers.extend([call(app, environment) for environment in mine])

    workers = [threading.Thread(target=work, args=(environments[index::threads],)) for index in range(threads)]
    begun = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spent = time.process_time() - begun
    assert len(answers) == len(environments)
    return spent / len(environments) * 1e6


if __name__ == "__main__":
    print_rows(rows())
