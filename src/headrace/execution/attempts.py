"""Executes deliveries: at most one attempt of a batch at a time, and none of one that is done."""

import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import orjson
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from headrace.clock import Clock
from headrace.contract.operations import Contract, Operation
from headrace.database import Database, attempt_rows, batch_rows, lease_rows, log_rows, step_rows
from headrace.database.batch_rows import BatchRow, Narrowing
from headrace.database.lease_rows import Lease, PutOff
from headrace.database.states import BatchState, Cause
from headrace.errors import Conflict, Gone, LostLease
from headrace.execution import verdicts
from headrace.execution.batch import Batch
from headrace.execution.control import ContinueLater, InDoubt, Interruption
from headrace.execution.delivery import Delivery
from headrace.execution.ending import Ending, end_attempt
from headrace.execution.hold import lost
from headrace.execution.turns import Turns
from headrace.execution.verdicts import Tries, Verdict
from headrace.observability import traces
from headrace.observability.capture import Lines, captured
from headrace.retries import RetryLimits
from headrace.runs.lineage import within
from headrace.runs.names import name_task, parse_task_name
from headrace.runs.policy import RunPolicy
from headrace.runs.pushing import open_sealed
from headrace.runs.relay import Relay

_log = structlog.get_logger(__name__)
_WAITS = (BatchState.PENDING, BatchState.PUSHED)
# The queue tries the first again; the second is an error behind the transaction that ended the batch.
_ANSWERED_WITH_THE_ERROR = (BatchState.PUSHED, BatchState.DONE)
# Of a queue that queue.yaml does not have: it alone knows when to stop.
_NO_LIMITS = RetryLimits(max_attempts=-1, max_duration=0.0, min_backoff=0.1, max_backoff=3_600.0, max_doublings=16)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """An attempt whose handler this process is at work in. `deadline`, in epoch seconds, ends its time limit.

    `lines` are what the handler has logged.
    """

    operation: Operation
    payload: Any
    delivery: Delivery
    lease: Lease
    lines: Lines = field(default_factory=Lines)

    @property
    def deadline(self) -> float:
        assert self.operation.task is not None
        return self.lease.started_at / 1000 + self.operation.task.time_limit


@dataclass(frozen=True, slots=True)
class BatchExecutor:
    """Delivers batches to handlers. Thread-safe. `go_on` asks that a run be gone on with soon.

    `retries` gives the retry limits that are in force for a queue, None for one that queue.yaml does not have.
    `cap` gives how many attempts all processes together execute at once; 0 is any number.
    """

    database: Database
    contract: Contract
    clock: Clock
    policy: RunPolicy
    relay: Relay
    go_on: Callable[[str], None]
    retries: Callable[[str], RetryLimits | None]
    cap: Callable[[], int] = lambda: 0
    _turns: Turns = field(default_factory=Turns)
    _held: set[Held] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def deliver(self, operation: Operation, payload: Any, delivery: Delivery, parameters: dict[str, Any]) -> None:
        """Execute one delivery; returns when the queue may forget its task.

        Raises:
            Conflict: a live lease holds the batch.
            Gone: the task is of a batch that is not known any more.
            LostLease: the attempt was fenced off.
            Exception: whatever the handler, or the schema that loads its items, raised, when the queue is to deliver
                the task again; it is kept on the attempt.
        """
        batch_id, generation = self._locate(operation, payload, delivery)
        lease = self._lease(operation, batch_id, generation, delivery)
        if lease is None:
            return
        structlog.contextvars.bind_contextvars(
            run_id=lease.run_id,
            batch=lease.number,
            attempt=lease.attempt,
            task=delivery.task_name,
            handler=operation.operation_id,
        )
        held = Held(operation, payload, delivery, lease)
        with self._lock:
            self._held.add(held)
        try:
            self._attempt(operation, payload, delivery, parameters, lease, held.lines)
        finally:
            with self._lock:
                self._held.discard(held)
            self._keep_lines(held)

    def claimed(self, delivery: Delivery) -> bytes:
        """The payload of a task that carries a ticket for it.

        Raises:
            Gone: there is no such batch.
        """
        name = parse_task_name(delivery.task_name)
        with self.database.read() as connection:
            batch = None if name is None else batch_rows.find_batch(connection, name.batch_id)
        if name is None or batch is None or delivery.task_name != name_task(batch.run_id, batch.id, name.generation):
            raise _unknown(delivery.task_name)
        return batch.payload.encode()

    def held(self) -> list[Held]:
        """The attempts that this process is at work on, also those whose batch is another attempt's by now."""
        with self._lock:
            return list(self._held)

    def time_out(self, held: Held) -> None:
        """End an attempt that passed its time limit: nothing that its handler writes from now on is kept.

        Where that makes its batch dead, the fallback is called here. An attempt that has ended is left as it is.
        """
        operation, lease = held.operation, held.lease
        assert operation.task is not None
        verdict = verdicts.timed_out(lease, operation.task, self._tries(operation, held.delivery, lease))
        try:
            if verdict.state is BatchState.DEAD and operation.fallback is not None:
                lease = self._take_over(operation, lease)
                batch = self._open(operation, held.payload, held.delivery, lease, now=self._now())
                batch.items = operation.items_of(held.payload)
                verdict = self._fall_back(operation, batch, lease, verdict, held.lines)
            ending = self._end(lease, verdict, None)
        except LostLease:
            return
        self._keep_lines(held)
        _log.warning(
            "attempt timed out",
            run_id=lease.run_id,
            batch=lease.number,
            attempt=lease.attempt,
            batch_is=ending.verdict.state.value,
        )
        self._follow(lease, ending)

    def give_back(self) -> int:
        """End the leases that this process holds without spending an attempt: it is about to stop. How many."""
        given_back = self.held()
        now, ended = self._now(), 0
        for held in given_back:
            with self.database.write() as connection:
                verdict = verdicts.released(held.lease)
                ended += end_attempt(connection, held.lease, verdict, now=now, check_at=now) is not None
            self._keep_lines(held)
        return ended

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
                step_rows.grow_step(connection, step_id, cursor=None, batches=1, items=items)
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
        until = self._lease_until(operation, now)
        cap = self.cap()

        def take(connection: Connection) -> Lease | PutOff | BatchRow | None:
            if cap and self._finds_no_place(connection, operation, cap, batch_id, generation, now):
                return self._put_off(connection, cap, batch_id, generation, delivery)
            lease = lease_rows.lease_batch(connection, batch_id, generation=generation, now=now, until=until)
            if lease is None and self._reap(connection, operation, batch_id, now):
                lease = lease_rows.lease_batch(connection, batch_id, generation=generation, now=now, until=until)
            if lease is None:
                return batch_rows.find_batch(connection, batch_id)
            _refuse_stranger(lease.run_id, batch_id, generation, delivery)
            return lease

        taken = self.database.write_together(take, durable=False)
        if cap and not isinstance(taken, PutOff):
            self._turns.take(batch_id)
        if isinstance(taken, Lease):
            return taken
        if isinstance(taken, PutOff):
            _log.info("delivery put off", run_id=taken.run_id, batch_id=batch_id, cap=cap)
            self._push_again(batch_id, taken.queue)
            return None
        self._refuse(taken, batch_id, generation, now)
        if taken is not None and taken.state is BatchState.PENDING:
            self.relay.push_soon(Narrowing(batch_id=batch_id))
        return None

    def _finds_no_place(
        self, connection: Connection, operation: Operation, cap: int, batch_id: int, generation: int, now: int
    ) -> bool:
        """Whether a batch waits and all places are taken. Its row is locked first, and what its last attempt left
        behind is cleared up: a wait for a row must not be one of all who count.
        """
        state = lease_rows.hold_delivered(connection, batch_id, generation=generation)
        if state is BatchState.RUNNING and self._reap(connection, operation, batch_id, now):
            state = lease_rows.hold_delivered(connection, batch_id, generation=generation)
        return state in _WAITS and self._is_full(connection, cap, batch_id, now)

    def _is_full(self, connection: Connection, cap: int, batch_id: int, now: int) -> bool:
        """Whether all places are taken, or belong to older batches that are on their way back."""
        free = cap - lease_rows.count_live(connection, now=now, at_most=cap)
        return self._turns.are_kept(free, batch_id, now / 1000, partial(lease_rows.waiting_of, connection))

    def _put_off(
        self, connection: Connection, cap: int, batch_id: int, generation: int, delivery: Delivery
    ) -> PutOff | BatchRow | None:
        """Have a batch that waits come again a little later; this was neither an attempt nor a failure."""
        due_at = int(self._turns.put_off(batch_id, cap, self.clock.now()) * 1000)
        put_off = lease_rows.put_off(connection, batch_id, generation=generation, due_at=due_at)
        if put_off is None:
            return batch_rows.find_batch(connection, batch_id)
        _refuse_stranger(put_off.run_id, batch_id, generation, delivery)
        return put_off

    def _push_again(self, batch_id: int, queue: str | None) -> None:
        if queue is None:
            self.relay.push_soon(Narrowing(batch_id=batch_id))
        else:
            self.relay.push_queues(queue)

    def _lease_until(self, operation: Operation, now: int) -> int:
        assert operation.task is not None
        return now + int((operation.task.time_limit + self.policy.lease_margin) * 1000)

    def _take_over(self, operation: Operation, lease: Lease) -> Lease:
        """The lease of an attempt under a fence of its own, so that the attempt's handler is locked out."""
        until = self._lease_until(operation, self._now())
        with self.database.write() as connection:
            taken = lease_rows.take_over(connection, lease, until=until)
        if taken is None:
            raise lost(lease)
        return taken

    def _reap(self, connection: Connection, operation: Operation, batch_id: int, now: int) -> bool:
        """End the attempt whose lease is over; whether this delivery may begin the next."""
        assert operation.task is not None
        lease = lease_rows.expired_lease(connection, batch_id, now=now)
        if lease is None:
            return False
        verdict = verdicts.lost(lease, idempotent=operation.task.idempotent, now=now, chance=_draw())
        if verdict.renews and verdict.due_at is None:
            # The task that is here does as well as another one.
            verdict = replace(verdict, state=BatchState.PUSHED, renews=False)
        return end_attempt(connection, lease, verdict, now=now, check_at=now) is not None

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
        self,
        operation: Operation,
        payload: Any,
        delivery: Delivery,
        parameters: dict[str, Any],
        lease: Lease,
        lines: Lines,
    ) -> None:
        assert operation.task is not None
        batch = self._open(operation, payload, delivery, lease, now=lease.started_at)
        failure: Exception | None = None
        try:
            batch.items = operation.items_of(payload)
            verdict = self._work(operation, batch, parameters, lines)
        except ContinueLater:
            verdict = verdicts.continued(lease)
        except InDoubt as doubt:
            verdict = verdicts.in_doubt(str(doubt), lease)
        except LostLease:
            raise
        except Exception as error:  # noqa: BLE001 - a boundary: the author's own code may raise anything
            failure = error
            verdict = verdicts.raised(error, lease, operation.task, self._tries(operation, delivery, lease))
        ending = batch.ending
        if ending is None:
            if verdict.state is BatchState.DEAD:
                verdict = self._fall_back(operation, batch, lease, verdict, lines)
            ending = self._end(lease, verdict, batch.outcomes)
        self._follow(lease, ending)
        if failure is not None:
            self._answer(failure, ending.verdict)

    def _open(self, operation: Operation, payload: Any, delivery: Delivery, lease: Lease, *, now: int) -> Batch:
        assert operation.task is not None
        return Batch(
            payload,
            delivery,
            lease,
            database=self.database,
            clock=self.clock,
            now=now / 1000,
            deadline=now / 1000 + operation.task.time_limit,
            permanent=operation.task.permanent,
        )

    def _work(self, operation: Operation, batch: Batch, parameters: dict[str, Any], lines: Lines) -> Verdict:
        with within(batch.run_id, batch.number), captured(lines), traces.handed_on():
            value = operation.function(batch, **parameters)
        return verdicts.done(warning=batch.warning, result=None if value is None else orjson.dumps(value).decode())

    def _tries(self, operation: Operation, delivery: Delivery, lease: Lease) -> Tries:
        assert operation.task is not None
        limits = self.retries(operation.task.queue) or _NO_LIMITS

        def first_at(attempts: int) -> int:
            with self.database.read() as connection:
                earlier = attempt_rows.first_of_the_last(connection, lease.batch_id, attempts - 1)
            return lease.started_at if earlier is None else min(earlier, lease.started_at)

        return Tries(limits, delivery.retry_count, self._now(), first_at, _draw())

    def _fall_back(self, operation: Operation, batch: Batch, lease: Lease, verdict: Verdict, lines: Lines) -> Verdict:
        """Call the fallback while the lease is held: when this process dies in it, it is called again."""
        if operation.fallback is None:
            return verdict
        try:
            with within(lease.run_id, lease.number), captured(lines):
                operation.fallback(batch)
        except LostLease:
            raise
        except (Exception, Interruption) as error:  # noqa: BLE001 - a boundary: the batch is dead either way, and says so
            _log.exception("fallback failed", run_id=lease.run_id, batch=lease.number)
            text = f"{verdict.error}\nIts fallback failed: {verdicts.text_of(error)}"
            return replace(verdict, error=text[: verdicts.ERROR_KEPT])
        return verdict

    def _keep_lines(self, held: Held) -> None:
        """Write down what the handler has logged since the last time; most log nothing."""
        lines, left_out = held.lines.take()
        if not lines:
            return
        try:
            self.database.write_together(
                lambda connection: log_rows.record_lines(connection, held.lease, lines, left_out=left_out),
                durable=False,
            )
        except SQLAlchemyError as error:
            # Its attempt has ended either way, and the lines stand in the service's log too.
            _log.warning("lines of an attempt were not kept", error=str(error))

    def _end(self, lease: Lease, verdict: Verdict, outcomes: str | None) -> Ending:
        now = self._now()
        check_at = now + int(self.policy.overdue * 1000)
        ending = self.database.write_together(
            lambda connection: end_attempt(connection, lease, verdict, now=now, check_at=check_at, outcomes=outcomes)
        )
        if ending is None:
            raise lost(lease)
        return ending

    def _follow(self, lease: Lease, ending: Ending) -> None:
        """What an attempt's end brings about is done at once; a sweep does it where this process dies before."""
        if lease.queue is not None:
            self.relay.push_queues(lease.queue)
        elif lease.order_key is not None:
            self.relay.push_soon(Narrowing(order_key=lease.order_key))
        elif ending.verdict.renews:
            self.relay.push_soon(Narrowing(batch_id=lease.batch_id))
        for run_id in ending.woken:
            self.go_on(run_id)

    def _answer(self, error: Exception, verdict: Verdict) -> None:
        """Raise what makes the queue deliver the task again, or log what it need not know."""
        if verdict.state in _ANSWERED_WITH_THE_ERROR or verdict.cause == Cause.EXHAUSTED:
            raise error
        if verdict.state is BatchState.DEAD:
            _log.error("batch is dead", cause=verdict.cause, exc_info=error)
        else:
            _log.info("attempt ended", outcome=verdict.outcome.value, reason=verdict.error)

    def _now(self) -> int:
        return int(self.clock.now() * 1000)


def _refuse_stranger(run_id: str, batch_id: int, generation: int, delivery: Delivery) -> None:
    """A name of ours that was made for another database's batch is not this batch's."""
    if parse_task_name(delivery.task_name) and delivery.task_name != name_task(run_id, batch_id, generation):
        raise _unknown(batch_id)


def _draw() -> float:
    return random.random()  # noqa: S311 - no secret


def _unknown(task: object) -> Gone:
    return Gone(
        f"Batch {task} is not known: its run was purged, or belongs to another database.",
        hint="Delete the task, or point the service at the database that pushed it.",
    )
