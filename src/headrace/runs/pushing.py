"""One task by itself: a run of one batch, written in the caller's transaction."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.contract.operations import Contract, Operation, WhenFull
from headrace.database import Database, batch_rows, key_rows, run_rows, step_rows
from headrace.database.batch_rows import Narrowing, NewBatch
from headrace.database.states import BatchState, RunState
from headrace.drivers.base import Driver
from headrace.errors import PushRefused, QueueFull
from headrace.observability import traces
from headrace.runs.lineage import parent
from headrace.runs.objects import checked
from headrace.runs.payloads import Payload, encode_one
from headrace.runs.policy import RunPolicy
from headrace.runs.relay import Relay


@dataclass(frozen=True, slots=True)
class Pushed:
    """A task that was pushed: its run. A `duplicate` was not, and the run is that of the first push of its key."""

    run_id: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Pusher:
    """Writes tasks to the outbox; a transaction of `Database.write` has them pushed right after its commit."""

    database: Database
    contract: Contract
    driver: Driver
    clock: Clock
    policy: RunPolicy
    relay: Relay

    def push(
        self,
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
        """Write a task for `handler`. The caller's rollback takes it back.

        A second push of a `key` writes nothing: for `key_ttl` seconds (40 days), also when the first run is long
        purged; with `while_active`, until the first run has ended. `at` (epoch seconds): it is not executed before.
        `owner`: who may ask for it as an operation. `object`: what it is about, such as user/7.

        Raises:
            PushRefused: the handler is none of the contract, the payload breaks its schema or is too large, or
                the queue does not exist. Nothing was written.
            QueueFull: the queue has as many tasks as its cap allows, and refuses more.
        """
        operation = self.contract.handler_of(handler)
        self.contract.check_payload(operation, payload)
        self.require_queue(operation)
        body = encode_one(payload, max_body=self.policy.max_payload)
        now = int(self.clock.now() * 1000)
        name = None if key is None else f"push/{operation.operation_id}/{key}"
        if name is not None and (first := self._find(connection, name, while_active=while_active, now=now)):
            return Pushed(first, duplicate=True)
        self._require_room(connection, operation)
        due_at = None if at is None or at * 1000 <= now else int(at * 1000)
        batch = self.batch_of(operation, body, due_at=due_at)
        run_id, step_id = open_sealed(
            connection,
            operation.operation_id,
            now=now,
            owner=owner,
            object=object,
            overlap_key=name if while_active else None,
        )
        if name is not None and not while_active:
            ttl = self.policy.key_ttl if key_ttl is None else key_ttl
            key_rows.keep_key(connection, name, run_id=run_id, expires_at=now + int(ttl * 1000))
        batch_rows.insert_batches(connection, run_id=run_id, step_id=step_id, first_number=1, new=[batch])
        step_rows.grow_step(connection, step_id, cursor=None, batches=1, items=body.items)
        self._push_after(connection, step_id, batch.queue)
        return Pushed(run_id)

    def reschedule(self, connection: Connection, run_id: str, at: float) -> bool:
        """Have a pushed task that has not begun executed at `at` (epoch seconds), and not before.

        False when the run is no such task, and nothing was written. The caller's rollback takes it back.
        """
        run = run_rows.find_run(connection, run_id)
        operation = None if run is None else self.contract.by_id.get(run.job)
        if operation is None or operation.task is None:
            return False
        postponed = batch_rows.postpone_batch(connection, run_id, due_at=int(at * 1000))
        if postponed is not None:
            self._push_after(connection, *postponed)
        return postponed is not None

    def _push_after(self, connection: Connection, step_id: int, queue: str | None) -> None:
        """Push a step after the commit, or what its queue has room for where that has a cap."""
        if queue is None:
            self.database.after_commit(connection, self.relay.push_steps, step_id)
        else:
            self.database.after_commit(connection, self.relay.push_queues, queue)

    def batch_of(self, operation: Operation, payload: Payload, *, due_at: int | None = None) -> NewBatch:
        """The batch that carries a payload to an operation. `due_at` is in epoch milliseconds.

        Raises:
            PushRefused: the handler's tasks are ordered by a property of which the payload has not one value.
        """
        assert operation.task is not None
        return NewBatch(
            payload.body.decode(),
            payload.items,
            due_at=due_at,
            order_key=_order_key(operation, payload.value),
            queue=operation.task.queue if self._is_capped(operation) else None,
        )

    def push_soon(self, operation: Operation, step_id: int, first_number: int = 1) -> None:
        """Push a step's batches from a number on, which were committed: as many as the queue has room for."""
        assert operation.task is not None
        if self._is_capped(operation):
            self.relay.push_queues(operation.task.queue)
        else:
            self.relay.push_soon(Narrowing(step_ids=(step_id,), first_number=first_number))

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

    def _is_capped(self, operation: Operation) -> bool:
        assert operation.task is not None
        options = self.contract.queues.get(operation.task.queue)
        return options is not None and options.max_pending is not None

    def _find(self, connection: Connection, name: str, *, while_active: bool, now: int) -> str | None:
        key_rows.lock_key(connection, name)
        if while_active:
            return run_rows.find_live_run(connection, name)
        return key_rows.find_key(connection, name, now=now)

    def _require_room(self, connection: Connection, operation: Operation) -> None:
        assert operation.task is not None
        options = self.contract.queues.get(operation.task.queue)
        if options is None or options.max_pending is None or options.when_full is not WhenFull.REFUSE:
            return
        key_rows.lock_key(connection, f"queue/{options.name}")
        count = batch_rows.count_outstanding(connection, options.name, states=_HELD, at_most=options.max_pending)
        if count >= options.max_pending:
            raise QueueFull(
                f"The queue {options.name} has {count:,} tasks, which is all that its max-pending allows.",
                hint="Push again when it has drained, or have it park what is too much (when-full: park).",
            )


_HELD = (BatchState.PENDING, BatchState.PUSHED, BatchState.RUNNING)


def open_sealed(
    connection: Connection,
    handler: str,
    *,
    now: int,
    owner: str | None = None,
    object: str | None = None,
    overlap_key: str | None = None,
) -> tuple[str, int]:
    """Write a run of one sealed step without batches; its id and the step's."""
    run_id = uuid.uuid4().hex
    run_rows.insert_run(
        connection,
        run_id=run_id,
        job=handler,
        parameters="{}",
        state=RunState.RUNNING,
        sealed=True,
        now=now,
        overlap_key=overlap_key,
        parent=parent(),
        owner=owner,
        object=checked(object),
        trace=traces.current(),
    )
    step_id = step_rows.insert_step(connection, run_id=run_id, number=1, handler=handler, now=now, sealed=True)
    return run_id, step_id


def _order_key(operation: Operation, value: Any) -> str | None:
    assert operation.task is not None
    name = operation.task.ordered_by
    if name is None:
        return None
    items = value if isinstance(value, list) else [value]
    keys = [item[name] for item in items if isinstance(item, dict) and name in item]
    if not items or len(keys) < len(items) or any(key != keys[0] for key in keys):
        raise PushRefused(
            f"The tasks of {operation.operation_id} are ordered by {name}, and the payload has not one value of it.",
            hint="Nothing was written. Push a task for each value.",
        )
    return f"{operation.operation_id}/{keys[0]}"
