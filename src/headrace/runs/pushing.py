"""One task by itself: a run of one batch, written in the caller's transaction."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.contract.operations import Contract, Operation
from headrace.database import Database, batch_rows, run_rows
from headrace.database.states import RunState
from headrace.drivers.base import Driver
from headrace.errors import PushRefused
from headrace.runs.payloads import encode_one
from headrace.runs.relay import Relay


@dataclass(frozen=True, slots=True)
class Pusher:
    """Writes tasks to the outbox; a transaction of `Database.write` has them pushed right after its commit."""

    database: Database
    contract: Contract
    driver: Driver
    clock: Clock
    relay: Relay

    def push(self, connection: Connection, handler: Callable[..., Any], payload: Any, *, key: str | None = None) -> str:
        """Write a task for `handler`; the id of its run. The caller's rollback takes it back.

        With a `key`, a second push of the same key returns the first one's run and writes nothing.

        Raises:
            PushRefused: the handler is none of the contract, the payload breaks its schema or is too large, or
                the queue does not exist. Nothing was written.
        """
        operation = self.contract.handler_of(handler)
        self.contract.check_payload(operation, payload)
        self.require_queue(operation)
        body = encode_one(payload, max_body=self.driver.max_body)
        firing_key = None if key is None else f"push/{operation.operation_id}/{key}"
        if firing_key is not None and (known := run_rows.find_run_of_firing(connection, firing_key)):
            return known.id
        now = int(self.clock.now() * 1000)
        run_id, step_id = open_sealed(connection, operation.operation_id, now=now, firing_key=firing_key)
        batch_rows.insert_batches(
            connection,
            run_id=run_id,
            step_id=step_id,
            first_number=1,
            payloads=[(body.body.decode(), body.items)],
        )
        run_rows.grow_step(connection, step_id, cursor=None, batches=1, items=body.items)
        self.database.after_commit(connection, partial(self.relay.push_pending, run_id=run_id))
        return run_id

    def require_queue(self, operation: Operation) -> None:
        """See that the operation's queue is there.

        Raises:
            PushRefused: it is not.
        """
        assert operation.task is not None
        if not self.driver.has_queue(operation.task.queue):
            raise PushRefused(
                f"The queue {operation.task.queue} of {operation.operation_id} does not exist.",
                hint="Deploy queue.yaml (docs/deploy.md), or start the queue server with --queues queue.yaml.",
            )


def open_sealed(connection: Connection, handler: str, *, now: int, firing_key: str | None = None) -> tuple[str, int]:
    """Write a run of one sealed step without batches; its id and the step's."""
    run_id = uuid.uuid4().hex
    run_rows.insert_run(
        connection,
        run_id=run_id,
        job=handler,
        parameters="{}",
        state=RunState.RUNNING,
        now=now,
        firing_key=firing_key,
    )
    step_id = run_rows.insert_step(connection, run_id=run_id, number=1, handler=handler, now=now)
    run_rows.seal_step(connection, step_id)
    return run_id, step_id
