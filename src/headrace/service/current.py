"""The service that a request belongs to: everything that was put together at start."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app, request
from sqlalchemy import Connection

from headrace.alerts import Alerts
from headrace.clock import Clock
from headrace.config.settings import Settings
from headrace.contract.guards import CALLER, OPERATOR
from headrace.contract.operations import Contract
from headrace.database import Database
from headrace.operators import Operators
from headrace.operators.situation import Situation
from headrace.operators.tokens import Tokens
from headrace.operators.workers import Workers
from headrace.runs.pushing import Pushed
from headrace.service.ports import (
    BatchRunner,
    Firings,
    InProcessQueue,
    JobRunner,
    Overrides,
    Pusher,
    Readiness,
    RunReader,
    Schedules,
    Sweeps,
    Watchdog,
)

_KEY = "headrace"


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one running service.

    `give_back` ends the leases that this process holds; it is called when the process must stop before its
    attempts have ended. `admit_batch` raises Overloaded while no batch may begin. `stall` says why work does not go
    on, None while it does; `metrics` gives them as Prometheus reads them. `after_request` is called when an answer is
    ready, outside every transaction.
    """

    settings: Settings
    clock: Clock
    contract: Contract
    jobs: JobRunner
    batches: BatchRunner
    sweeps: Sweeps
    reader: RunReader
    readiness: Readiness
    pusher: Pusher
    overrides: Overrides
    firings: Firings
    schedules: Schedules
    give_back: Callable[[], object] = lambda: None
    queue: InProcessQueue | None = None
    watchdog: Watchdog | None = None
    admit_batch: Callable[[], None] = lambda: None
    database: Database | None = None
    operators: Operators | None = None
    situation: Situation | None = None
    after_request: Callable[[], object] = lambda: None
    alerts: Alerts | None = None
    stall: Callable[[], str | None] = lambda: None
    metrics: Callable[[], bytes] | None = None
    tokens: Tokens | None = None
    workers: Workers | None = None


def install_service(app: Flask, service: Service) -> None:
    """Make `service` the one that requests of `app` belong to."""
    app.extensions[_KEY] = service


def service_of(app: Flask) -> Service:
    """The service that `app` was made for."""
    service: Service = app.extensions[_KEY]
    return service


def current_service() -> Service:
    """The service of the request that is handled now.

    Raises RuntimeError outside a request or application context.
    """
    return service_of(current_app)


def caller() -> str:
    """Who makes the request that is handled now: the name that the operation's x-guard gave.

    Raises RuntimeError where no x-guard stands before the operation.
    """
    name: str | None = request.environ.get(CALLER)
    if name is None:
        raise RuntimeError("Nobody is known here: the operation's security names no scheme with x-guard.")
    return name


def operators() -> Operators:
    """What people do by hand, on the service of this request."""
    found = current_service().operators
    if found is None:
        raise RuntimeError("This service was put together without a database.")
    return found


def operator() -> str:
    """Who makes the request of the admin API that is handled now, for the audit.

    Raises RuntimeError in any other request.
    """
    name: str | None = request.environ.get(OPERATOR)
    if name is None:
        raise RuntimeError("No operator is known here: the operation's security is not adminToken.")
    return name


def now() -> float:
    """The time by the service's clock, in epoch seconds."""
    return current_service().clock.now()


def read() -> AbstractContextManager[Connection]:
    """A connection of the application's database for reading, within a request."""
    return _database().read()


def transaction() -> AbstractContextManager[Connection]:
    """A transaction of the application's database, within a request: committed when the block ends.

    Keep it short and do no other I/O inside. A handler takes `Batch.transaction`, which is fenced.
    """
    return _database().write()


def _database() -> Database:
    database = current_service().database
    if database is None:
        raise RuntimeError("This service was put together without a database.")
    return database


def push(
    connection: Connection,
    handler: Callable[..., Any],
    payload: Any,
    *,
    key: str | None = None,
    while_active: bool = False,
    key_ttl: float | None = None,
    at: float | None = None,
    owner: str | None = None,
    object: str | None = None,
) -> Pushed:
    """Push one task for `handler`, in the caller's transaction.

    The task reaches its queue after the commit; a rollback takes it back. A second push of a `key` writes nothing and
    answers with the first one's run: for `key_ttl` seconds (40 days), or, with `while_active`, until that run has
    ended. `at` (epoch seconds): it is not executed before. `owner`: who may ask for it as an operation. `object`: what
    it is about, such as user/7, by which it is found among tasks and runs; at most 200 characters.

    Raises PushRefused when the handler is none of the contract, the payload breaks its schema or is too large, or
    the queue does not exist, and QueueFull when its cap is reached: nothing was written.
    """
    return current_service().pusher.push(
        connection,
        handler,
        payload,
        key=key,
        while_active=while_active,
        key_ttl=key_ttl,
        at=at,
        owner=owner,
        object=object,
    )


def start(
    connection: Connection,
    job: Callable[..., Any],
    parameters: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    object: str | None = None,
) -> str:
    """Start a run of `job`, the function of a cron endpoint, in the caller's transaction; the run's id.

    The run is split by a task of its own, soon after the commit; a rollback takes it back. `parameters` are all that
    the function is to get, JSON values. The job's overlap policy holds as ever. With a `key`, a second start within
    40 days writes nothing and answers with the first run. `object`: what the run is about, where that is not what its
    `x-job` says.

    Raises PushRefused when the function is no job of the contract.
    """
    return current_service().jobs.start_within(connection, job, dict(parameters or {}), key=key, object=object)


def cancel(connection: Connection, run_id: str, reason: str = "") -> bool:
    """Cancel a run, in the caller's transaction: a pushed task, or a whole job. False when it has ended already.

    What waits is dropped; attempts that run get a few seconds to stop.
    """
    return current_service().jobs.cancel(connection, run_id, reason)


def reschedule(connection: Connection, run_id: str, at: float) -> bool:
    """Have a pushed task executed at another time, in epoch seconds, and not before; in the caller's transaction.

    False when the run is no single task, or has begun: nothing was changed then.
    """
    return current_service().pusher.reschedule(connection, run_id, at)
