"""What a million finished tasks cost the work that goes on beside them, and what it costs to be rid of them.

`python -m bench.pile`. Two services in this process, each on a SQLite file of its own: one that is nearly empty, one
with a pile of tasks that are done, half of them in large runs and half pushed by themselves. Each operation is
measured on both by turns, in CPU time. Then large runs are purged while batches are delivered.
"""

import gc
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from sqlalchemy import Connection, Table, func, insert, select, update

from bench.inside import ADMIN, Environment, Inside, call, inside
from bench.rows import Row, print_rows
from headrace.database import Database
from headrace.database.states import BatchState, RunState
from headrace.database.tables import batches, runs, steps
from headrace.database.writers import WriterLock
from headrace.drivers.base import Push

PILE = 1_000_000
LARGE_RUN = 20_000
DAY = 86_400_000
KEPT = 30 * DAY
"""Milliseconds ago that the pile began."""
ROUNDS = 9
BATCHES = 100
REPEATS = 10
SWEEPS = ("relay", "reap", "resume", "reconcile", "purge")
PURGED_RUNS = 5
PURGES = 3
DELIVERIES = 6_000
THREADS = 8
_CHUNK = 20_000


def rows(*, tasks: int = PILE) -> Iterator[Row]:
    """Every row of this module."""
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        inside(Path(folder) / "empty") as empty,
        inside(Path(folder) / "pile") as piled,
    ):
        begun = time.perf_counter()
        fill(piled.database, tasks)
        yield Row("finished tasks written", tasks, "", note=f"in {time.perf_counter() - begun:.0f} s")
        yield from slowdown_rows(empty, piled)
        yield from purge_rows(piled)


# The pile.


@dataclass(frozen=True, slots=True)
class _Ended:
    """A run of one step that is over; `step_id` is new in the database, `at` in epoch milliseconds."""

    id: str
    step_id: int
    batches: int
    at: int


def fill(database: Database, tasks: int) -> None:
    """Write tasks that were done in the last 30 days into an empty database, the large runs first."""
    large = tasks // 2 // LARGE_RUN
    sizes = [LARGE_RUN] * large + [1] * (tasks - large * LARGE_RUN)
    begun = int(time.time() * 1000) - KEPT
    ended = [
        _Ended(uuid.uuid4().hex, number, size, begun + KEPT * number // len(sizes))
        for number, size in enumerate(sizes, 1)
    ]
    with database.write(durable=False) as connection:
        _insert(connection, runs, (_run(run) for run in ended))
        _insert(connection, steps, (_step(run) for run in ended))
        _insert(connection, batches, (_batch(run, number) for run in ended for number in range(1, run.batches + 1)))
        if connection.dialect.name == "postgresql":
            # The steps brought their ids; the next one goes on behind them.
            own = func.pg_get_serial_sequence(steps.name, steps.c.id.name)
            connection.execute(select(func.setval(own, select(func.max(steps.c.id)).scalar_subquery())))


def _insert(connection: Connection, table: Table, values: Iterator[dict[str, Any]]) -> None:
    while chunk := list(islice(values, _CHUNK)):
        connection.execute(insert(table), chunk)


def _run(run: _Ended) -> dict[str, Any]:
    return {
        "id": run.id,
        "job": "noop.start_a",
        "parameters": "{}",
        "state": RunState.COMPLETED,
        "sealed": True,
        "created_at": run.at,
        "ended_at": run.at,
    }


def _step(run: _Ended) -> dict[str, Any]:
    counts = dict.fromkeys(("item_count", "batches", "done", "items_done", "attempts"), run.batches)
    return {
        "id": run.step_id,
        "run_id": run.id,
        "number": 1,
        "handler": "noop.work_a",
        "sealed": True,
        "created_at": run.at,
        "ended_at": run.at,
        **counts,
    }


def _batch(run: _Ended, number: int) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "step_id": run.step_id,
        "number": number,
        "state": BatchState.DONE,
        "payload": f"[{number}]",
        "item_count": 1,
        "fence": 1,
        "attempt": 1,
        "started_at": run.at,
        "ended_at": run.at,
    }


# What goes on beside it.


def slowdown_rows(empty: Inside, piled: Inside) -> Iterator[Row]:
    """Each operation's cost beside the pile, as a multiple of its cost without; the cheapest of some rounds each."""
    without, beside = [], []
    for _ in range(ROUNDS):
        without.append(_measure(empty))
        beside.append(_measure(piled))
    for operation in without[0]:
        before, after = (min(costs[operation] for costs in rounds) for rounds in (without, beside))
        note = f"{after:,.0f} µs against {before:,.0f} µs CPU"
        yield Row(f"beside the pile: {operation}", after / before, "x", 1.25, note=note)


def _measure(service: Inside) -> dict[str, float]:
    """Microseconds of CPU that each operation takes."""
    service.start("/v1/cron/a", BATCHES)
    _cost(service, _deliveries(service))
    costs = {f"start and split of {BATCHES} batches": _cost(service, [service.request("/v1/cron/a")])}
    costs["lease and end of a batch"] = _cost(service, _deliveries(service))
    service.driver.down = True
    call(service.app, service.request("/v1/cron/a"))
    service.driver.down = False
    costs[f"relay of {BATCHES} batches"] = _cost(service, [service.request("/v1/cron/headrace/relay")])
    _cost(service, _deliveries(service))
    for sweep in SWEEPS:
        costs[f"{sweep} with nothing to do"] = _cost(service, _gets(service, f"/v1/cron/headrace/{sweep}"))
    costs["GET of 5 runs"] = _cost(service, _gets(service, "/api/v1/runs?limit=5", ADMIN))
    of_job = "/api/v1/runs?limit=5&job=noop.start_b"
    costs["GET of the runs of another job"] = _cost(service, _gets(service, of_job, ADMIN))
    in_state = "/api/v1/runs?limit=5&state=running"
    costs["GET of the runs that are running"] = _cost(service, _gets(service, in_state, ADMIN))
    newest = orjson.loads(call(service.app, service.request("/api/v1/runs?limit=1", token=ADMIN)))["runs"][0]
    costs["GET of one run"] = _cost(service, _gets(service, f"/api/v1/runs/{newest['run_id']}", ADMIN))
    return costs


def _deliveries(service: Inside) -> list[Environment]:
    """Of what was pushed since the last time."""
    pushes: list[Push] = list(service.driver.pushes)
    service.driver.pushes.clear()
    return [service.delivery(push) for push in pushes]


def _gets(service: Inside, path: str, token: str | None = None) -> list[Environment]:
    return [service.request(path, token=token) for _ in range(REPEATS)]


def _cost(service: Inside, environments: list[Environment]) -> float:
    begun = time.process_time()
    for environment in environments:
        call(service.app, environment)
    return (time.process_time() - begun) / len(environments) * 1e6


# To be rid of it.


class TimedLock(WriterLock):
    """The writers' lock; keeps how long, in seconds, each transaction of one thread's own held it."""

    def __init__(self, path: Path, thread: str) -> None:
        super().__init__(path)
        self.held: list[float] = []
        self._thread = thread
        self._taken_at = 0.0

    def __enter__(self) -> None:
        super().__enter__()
        self._taken_at = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        held = time.perf_counter() - self._taken_at
        super().__exit__(*error)
        if threading.current_thread().name.startswith(self._thread):
            self.held.append(held)


def purge_rows(service: Inside) -> Iterator[Row]:
    """Large runs purged while batches are delivered, and the same deliveries without, by turns."""
    lock = TimedLock(Path(f"{service.database.engine.url.database}-writers"), "purge")
    service.database._writer = lock  # nothing else tells how long a transaction holds the lock
    quiet, beside, purged = [], [], []
    for _ in range(PURGES):
        quiet.append(_rate(service, [service.delivery(push) for push in service.start("/v1/cron/a", DELIVERIES // 4)]))
        work = [service.delivery(push) for push in service.start("/v1/cron/a", DELIVERIES)]
        before = _let_large_runs_end_long_ago(service.database)
        # As gunicorn's workers do: a full collection over all that stands ready here would stop the purge for 80 ms.
        gc.freeze()
        with ThreadPoolExecutor(1, "purge") as purger:
            begun = time.perf_counter()
            purge = purger.submit(call, service.app, service.request("/v1/cron/headrace/purge"))
            beside.append(_rate(service, work, purge.done))
            purge.result()
            seconds = time.perf_counter() - begun
        purged.append((before - _count_batches(service.database)) / seconds)
    note = f"median {median(lock.held) * 1000:.1f} ms of {len(lock.held)}; {median(purged):,.0f} batches/s"
    yield Row("purge: its longest transaction", max(lock.held) * 1000, "ms", 50, note=note)
    share = median(beside) / median(quiet)
    note = f"{median(beside):,.0f}/s against {median(quiet):,.0f}/s, {THREADS} at once"
    yield Row("deliveries beside a purge, share of those without", share, "x", 0.8, at_least=True, note=note)


def _let_large_runs_end_long_ago(database: Database) -> int:
    """Make some large runs of the pile old enough to be purged; how many batches there are."""
    large = (
        select(steps.c.run_id)
        .join(runs, runs.c.id == steps.c.run_id)
        .where(steps.c.batches == LARGE_RUN, runs.c.ended_at > 0)
        .limit(PURGED_RUNS)
    )
    with database.write() as connection:
        aged = connection.execute(update(runs).where(runs.c.id.in_(large)).values(ended_at=0)).rowcount
    assert aged == PURGED_RUNS, "the pile has too few large runs"
    return _count_batches(database)


def _count_batches(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(batches)).scalar_one())


def _rate(service: Inside, work: list[Environment], has_ended: Callable[[], bool] = lambda: False) -> float:
    """Deliveries a second, by some threads, until all are made or something else has ended."""
    waiting = deque(work)

    def deliver() -> None:
        while not has_ended():
            try:
                environment = waiting.popleft()
            except IndexError:
                return
            call(service.app, environment)

    workers = [threading.Thread(target=deliver) for _ in range(THREADS)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return (len(work) - len(waiting)) / (time.perf_counter() - begun)


if __name__ == "__main__":
    sys.exit(print_rows(rows(tasks=int(sys.argv[1]) if len(sys.argv) > 1 else PILE)) > 0)
