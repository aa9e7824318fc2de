"""Executes deliveries: at most one attempt of a batch at a time, and none of one that is done."""

import json
import threading
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from headrace.clock import Clock
from headrace.contract.operations import Operation
from headrace.database import Database, batch_rows, run_rows
from headrace.database.batch_rows import BatchRow, Lease
from headrace.database.states import BatchState, Outcome
from headrace.errors import Conflict, Gone, LostLease
from headrace.execution.batch import Batch
from headrace.execution.delivery import Delivery
from headrace.execution.ending import end_attempt
from headrace.runs.names import name_task, parse_task_name
from headrace.runs.policy import RunPolicy
from headrace.runs.pushing import open_sealed

_log = structlog.get_logger(__name__)
ERROR_KEPT = 2_000


@dataclass(frozen=True, slots=True)
class BatchExecutor:
    """Delivers batches to handlers. Thread-safe."""

    database: Database
    clock: Clock
    policy: RunPolicy
    _held: dict[int, Lease] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def deliver(self, operation: Operation, payload: Any, delivery: Delivery, parameters: dict[str, Any]) -> None:
        """Execute one delivery; returns when its batch is done, now or before.

        Raises:
            Conflict: a live lease holds the batch.
            Gone: the task is of a batch that is not known any more.
            LostLease: the attempt was fenced off.
            Exception: whatever the handler, or the schema that loads its items, raised; it is kept on the attempt.
        """
        batch_id, generation = self._locate(operation, payload, delivery)
        lease = self._lease(operation, batch_id, generation, delivery)
        if lease is None:
            return
        structlog.contextvars.bind_contextvars(
            run_id=lease.run_id, batch=lease.number, attempt=lease.attempt, task=delivery.task_name
        )
        self._attempt(operation, payload, delivery, parameters, lease)

    def give_back(self) -> int:
        """End the leases that this process holds without spending an attempt: it is about to stop. How many."""
        with self._lock:
            leases = list(self._held.values())
            self._held.clear()
        now = self._now()
        with self.database.write() as connection:
            return sum(batch_rows.give_back(connection, lease, now=now) for lease in leases)

    def _locate(self, operation: Operation, payload: Any, delivery: Delivery) -> tuple[int, int]:
        name = parse_task_name(delivery.task_name)
        if name is not None:
            return name.batch_id, name.generation
        return self._adopt(operation, payload, delivery)

    def _adopt(self, operation: Operation, payload: Any, delivery: Delivery) -> tuple[int, int]:
        """The batch of a task that somebody else made, with a run of its own at its first delivery."""
        adopted_from = f"{delivery.queue}/{delivery.task_name}"
        with self.database.read() as connection:
            known = batch_rows.find_adopted(connection, adopted_from)
        if known is not None:
            return known.id, known.generation
        items = len(payload) if isinstance(payload, list) else 1
        try:
            with self.database.write() as connection:
                run_id, step_id = open_sealed(connection, operation.operation_id, now=self._now())
                batch_id = batch_rows.insert_adopted(
                    connection,
                    run_id=run_id,
                    step_id=step_id,
                    payload=json.dumps(payload),
                    items=items,
                    adopted_from=adopted_from,
                )
                run_rows.grow_step(connection, step_id, cursor=None, batches=1, items=items)
                return batch_id, 1
        except IntegrityError:
            with self.database.read() as connection:
                known = batch_rows.find_adopted(connection, adopted_from)
            if known is None:
                raise
            return known.id, known.generation

    def _lease(self, operation: Operation, batch_id: int, generation: int, delivery: Delivery) -> Lease | None:
        """The lease for a new attempt; None when there is nothing left to do."""
        assert operation.task is not None
        now = self._now()
        until = now + int((operation.task.time_limit + self.policy.lease_margin) * 1000)

        def take(connection: Connection) -> Lease | BatchRow | None:
            lease = batch_rows.lease_batch(connection, batch_id, generation=generation, now=now, until=until)
            if lease is None and self._reap(connection, batch_id, now):
                lease = batch_rows.lease_batch(connection, batch_id, generation=generation, now=now, until=until)
            if lease is None:
                return batch_rows.find_batch(connection, batch_id)
            _refuse_stranger(lease.run_id, batch_id, generation, delivery)
            return lease

        taken = self.database.write_together(take, durable=False)
        if isinstance(taken, Lease):
            return taken
        self._refuse(taken, batch_id, generation, now)
        return None

    def _reap(self, connection: Connection, batch_id: int, now: int) -> bool:
        """End the attempt whose lease is over, so that this delivery may begin the next."""
        lease = batch_rows.expired_lease(connection, batch_id, now=now)
        if lease is None or not batch_rows.end_attempt(connection, lease, outcome=Outcome.LOST, now=now, check_at=now):
            return False
        run_rows.count_batch(connection, lease.step_id, attempts=1)
        return True

    def _refuse(self, batch: BatchRow | None, batch_id: int, generation: int, now: int) -> None:
        if batch is None:
            raise _unknown(batch_id)
        if batch.state is BatchState.RUNNING and batch.generation == generation:
            assert batch.lease_until is not None
            raise Conflict(
                f"Batch {batch.number} of run {batch.run_id} is being executed.",
                retry_after=max(1.0, (batch.lease_until - now) / 1000),
            )
        _log.info("delivery without work", run_id=batch.run_id, batch=batch.number, state=batch.state.value)

    def _attempt(
        self, operation: Operation, payload: Any, delivery: Delivery, parameters: dict[str, Any], lease: Lease
    ) -> None:
        assert operation.task is not None
        started = lease.started_at / 1000
        with self._lock:
            self._held[lease.batch_id] = lease
        try:
            batch = Batch(
                payload,
                operation.items_of(payload),
                delivery,
                lease,
                database=self.database,
                clock=self.clock,
                now=started,
                deadline=started + operation.task.time_limit,
            )
            operation.function(batch, **parameters)
            if not batch.completed and not self._end(lease, Outcome.DONE):
                raise LostLease(f"Batch {lease.number} of run {lease.run_id} is another attempt's now.")
        except LostLease:
            raise
        except Exception as error:
            # A boundary: whatever the handler raised is kept on the attempt, and goes on to the answer.
            self._end(lease, Outcome.FAILED, f"{type(error).__name__}: {error}"[:ERROR_KEPT])
            raise
        finally:
            with self._lock:
                self._held.pop(lease.batch_id, None)

    def _end(self, lease: Lease, outcome: Outcome, error: str = "") -> bool:
        now = self._now()
        check_at = now + int(self.policy.overdue * 1000)
        return self.database.write_together(
            lambda connection: end_attempt(connection, lease, outcome, now=now, check_at=check_at, error=error)
        )

    def _now(self) -> int:
        return int(self.clock.now() * 1000)


def _refuse_stranger(run_id: str, batch_id: int, generation: int, delivery: Delivery) -> None:
    """A name of ours that was made for another database's batch is not this batch's."""
    if parse_task_name(delivery.task_name) and delivery.task_name != name_task(run_id, batch_id, generation):
        raise _unknown(batch_id)


def _unknown(batch_id: int) -> Gone:
    return Gone(
        f"Batch {batch_id} is not known: its run was purged, or belongs to another database.",
        hint="Delete the task, or point the service at the database that pushed it.",
    )
