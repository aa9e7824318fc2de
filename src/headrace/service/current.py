"""The service that a request belongs to: everything that was put together at start."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app
from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.config.settings import Settings
from headrace.contract.operations import Contract
from headrace.service.ports import BatchRunner, JobRunner, Overrides, Pusher, Readiness, RunReader, Sweeps

_KEY = "headrace"


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one running service.

    `give_back` ends the leases that this process holds; it is called when the process must stop before its
    attempts have ended.
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
    give_back: Callable[[], object] = lambda: None


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


def push(connection: Connection, handler: Callable[..., Any], payload: Any, *, key: str | None = None) -> str:
    """Push one task for `handler`, in the caller's transaction; the id of its run.

    The task reaches its queue after the commit; a rollback takes it back. With a `key`, a second push of the same
    key writes nothing and answers with the first one's run.

    Raises PushRefused when the handler is none of the contract, the payload breaks its schema or is too large, or
    the queue does not exist: nothing was written.
    """
    return current_service().pusher.push(connection, handler, payload, key=key)
