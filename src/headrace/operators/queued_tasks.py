"""What a queue tells of a batch's task: how it is sent, what was delivered, why it waits; and having it run now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from headrace.clock import Clock, rfc3339
from headrace.contract.operations import Contract
from headrace.database import Database, audit_rows, batch_rows, waiting_rows
from headrace.database.batch_rows import BatchRow, Narrowing
from headrace.database.states import BatchState
from headrace.drivers.queues import Delivery, QueueControl, QueueControls, QueuedTask, hide_secrets
from headrace.errors import BadRequest, DriverError, NotFound, Unreachable, WrongState
from headrace.operators.batch_details import find, moved
from headrace.operators.waiting import why_waiting
from headrace.runs.names import name_task, parse_task_name
from headrace.runs.relay import Relay

PER_PAGE = 20
"""Tasks and deliveries of a queue that are shown."""
GENERATIONS = 3
"""Tasks of a batch whose deliveries are shown: that of its generation, and of those before."""
_ON_ITS_QUEUE = (BatchState.PUSHED, BatchState.RUNNING)


@dataclass(frozen=True, slots=True)
class QueuedTasks:
    """Reads and runs the tasks of batches, on the queues that carry them."""

    database: Database
    contract: Contract
    clock: Clock
    controls: QueueControls
    relay: Relay

    def show(self, batch_id: int) -> dict[str, Any]:
        """What the queue tells of a batch's task.

        `on_queue` says why it waits there, "" where nothing is told. `request` is what is sent, without its body:
        that of the task, or of its last delivery; None where nobody has it. `deliveries` are the last, the newest
        first; None where nobody keeps them, or the queue cannot be asked: then `on_queue` says so. Raises NotFound.
        """
        with self.database.read() as connection:
            batch = find(connection, batch_id)
        queue, names = self._tasks_of(batch)
        if not queue:
            return {"on_queue": "openapi.yaml no longer has its handler.", "request": None, "deliveries": None}
        try:
            control = self.controls.of(queue)[0]
            task = control.task(queue, names[0]) if batch.state in _ON_ITS_QUEUE else None
            deliveries = _deliveries(control, queue, names)
        except (DriverError, NotFound, BadRequest, WrongState) as error:
            return {"on_queue": f"The queue could not be asked: {error.message}", "request": None, "deliveries": None}
        last = task or next(iter(deliveries or ()), None)
        return {
            "on_queue": "" if task is None else task.why,
            "request": None if last is None else _request(last),
            "deliveries": None if deliveries is None else [show_delivery(each) for each in deliveries],
        }

    def run(self, batch_id: int, *, actor: str) -> None:
        """Have a batch that waits executed now, also while its queue is paused; audited.

        One that was not pushed yet is pushed first; one that waits for a time becomes another task, for at once.
        Raises NotFound, WrongState with the reason where it does not wait, or cannot be pushed before another, and
        Unreachable where its queue cannot be asked.
        """
        with self.database.read() as connection:
            batch = find(connection, batch_id)
            reason = _refusal(connection, batch)
        if reason:
            raise WrongState(f"Batch {batch_id} cannot be run now. {reason}")
        was_pushed, waits_for_a_time = batch.state is BatchState.PUSHED, batch.due_at is not None
        if not was_pushed:
            if waits_for_a_time:
                self._hasten(batch, actor)
            batch = self._push(batch)
        # What was pushed just now may be done by now.
        if not self._run(batch, actor) and was_pushed:
            raise WrongState(
                f"The task of batch {batch_id} is not on its queue any more.",
                hint="Its queue has delivered it at this moment, or has lost it: then a sweep pushes it again.",
            )
        if was_pushed or not waits_for_a_time:
            with self.database.write() as connection:
                self._record(connection, batch, actor)

    def _hasten(self, batch: BatchRow, actor: str) -> None:
        with self.database.write() as connection:
            if not waiting_rows.hasten_batch(connection, batch):
                raise moved(batch)
            self._record(connection, batch, actor)

    def _push(self, batch: BatchRow) -> BatchRow:
        """The batch once it was pushed. Raises WrongState where it could not be."""
        self.relay.push_soon(Narrowing(batch_id=batch.id))
        with self.database.read() as connection:
            batch = find(connection, batch.id)
            if batch.state is BatchState.PENDING:
                raise WrongState(
                    f"Batch {batch.id} could not be pushed. {why_waiting(connection, batch)}",
                    hint="It is pushed as soon as it can be.",
                )
        return batch

    def _record(self, connection: Connection, batch: BatchRow, actor: str) -> None:
        now = int(self.clock.now() * 1000)
        audit_rows.record(connection, at=now, actor=actor, action="run_now", object=f"batch/{batch.id}")

    def _run(self, batch: BatchRow, actor: str) -> bool:
        if batch.state is not BatchState.PUSHED:
            return True
        queue, names = self._tasks_of(batch)
        try:
            return any(control.run(queue, names[0], actor=actor) for control in self.controls.of(queue))
        except DriverError as error:
            raise Unreachable(f"The queue {queue} gives no answer. {error.message}", hint=error.hint) from error

    def _tasks_of(self, batch: BatchRow) -> tuple[str, list[str]]:
        """The batch's queue, and the names of its tasks, the newest first."""
        operation = self.contract.by_id.get(batch.handler)
        queue = "" if operation is None or operation.task is None else operation.task.queue
        oldest = max(1, batch.generation - GENERATIONS + 1)
        names = [
            name_task(batch.run_id, batch.id, generation) for generation in range(batch.generation, oldest - 1, -1)
        ]
        if batch.adopted_from is not None and oldest == 1:
            queue, _, names[-1] = batch.adopted_from.partition("/")
        return queue, names


def show_task(task: QueuedTask) -> dict[str, Any]:
    """A task on a queue, without its body and its secrets; `batch_id` is None where somebody else made it."""
    return {
        "task": task.name,
        "batch_id": _batch_of(task.name),
        "created_at": _time(task.created_at),
        "schedule_at": _time(task.schedule_at),
        "dispatch_count": task.dispatch_count,
        "last_status": task.last_status,
        "why": task.why,
        **_request(task),
    }


def show_delivery(delivery: Delivery) -> dict[str, Any]:
    """A delivery, without its body and its secrets."""
    return {
        "task": delivery.task,
        "batch_id": _batch_of(delivery.task),
        "number": delivery.number,
        "started_at": _time(delivery.started_at),
        "seconds": delivery.seconds,
        "status": delivery.status,
        "error": delivery.error,
        "head": delivery.head,
        **_request(delivery),
    }


def _request(sent: QueuedTask | Delivery) -> dict[str, Any]:
    return {"method": sent.method, "url": sent.url, "headers": hide_secrets(dict(sent.headers))}


def _deliveries(control: QueueControl, queue: str, names: Sequence[str]) -> list[Delivery] | None:
    """The last deliveries of these tasks, the newest first; None where nobody keeps them."""
    found: list[Delivery] = []
    for name in names:
        told = control.deliveries(queue, name, limit=PER_PAGE)
        if told is None:
            return None
        found += told
    return found


def _refusal(connection: Connection, batch: BatchRow) -> str:
    """Why a batch cannot be run now; "" where it can."""
    if batch.state is BatchState.RUNNING:
        return "It is running."
    if batch.state is BatchState.UNDECIDED:
        return why_waiting(connection, batch)
    if batch.state not in (BatchState.PENDING, BatchState.PUSHED):
        return f"It is {batch.state.value}."
    first = None if batch.order_key is None else batch_rows.first_of_key(connection, batch.order_key)
    return why_waiting(connection, replace(batch, due_at=None)) if first not in (None, batch.id) else ""


def _batch_of(task: str) -> int | None:
    name = parse_task_name(task)
    return None if name is None else name.batch_id


def _time(seconds: float) -> str:
    return rfc3339(int(seconds * 1000))
