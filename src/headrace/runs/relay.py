"""The relay: pushes what was committed and not pushed yet, in bulk, and writes down what became of it."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, batch_rows, step_rows
from headrace.database.batch_rows import ALL, BatchRow, Narrowing
from headrace.database.facts import Pushed, note
from headrace.database.states import BatchState, Cause
from headrace.drivers.base import Driver, Push, PushOutcome, PushResult
from headrace.errors import DriverError
from headrace.observability import traces
from headrace.runs.fanin import end_if_complete
from headrace.runs.names import name_task
from headrace.runs.policy import RunPolicy

CLAIM_HEADER = "Headrace-Claim"
"""Marks a task whose payload stayed in the database; its body is {"claim": batch id}."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Relay:
    """Safe to run in many places at once: a batch that is pushed twice has one name, which a queue takes once."""

    database: Database
    contract: Contract
    driver: Driver
    clock: Clock
    policy: RunPolicy
    service_url: str

    def push_pending(self, only: Narrowing = ALL, *, until: float | None = None) -> int:
        """Push all that waits, or what it is narrowed to, page by page, until a time in epoch seconds; how many.

        What is due later than the driver can be told of, is behind another batch of its order key, or is above its
        queue's cap, stays. Stops at the first page that the queue could not take whole: the rest stays for the next
        sweep.
        """
        pushed = 0
        for due in (False, True):
            after: int | None = 0
            while after is not None and (until is None or self.clock.now() < until):
                page, after = self._page(only, after, due=due)
                outcomes = self._push(page) if page else []
                pushed += sum(result.outcome in _ARRIVED for result in outcomes)
                if any(result.outcome is PushOutcome.UNAVAILABLE for result in outcomes):
                    return pushed
        return pushed

    def push_soon(self, only: Narrowing) -> None:
        """Push what a transaction has just committed; where that fails, a sweep does it later."""
        try:
            self.push_pending(only)
        except (DriverError, SQLAlchemyError) as error:
            _log.warning("push put off", error=str(error))

    def push_steps(self, *step_ids: int) -> None:
        """Push the batches of these steps, as `push_soon` does."""
        self.push_soon(Narrowing(step_ids=step_ids))

    def push_queues(self, *names: str) -> None:
        """Push what these queues have room for, as `push_soon` does."""
        for name in dict.fromkeys(names):
            self.push_soon(Narrowing(queue=name))

    def _page(self, only: Narrowing, after: int, *, due: bool) -> tuple[list[BatchRow], int | None]:
        """Some batches to push now, and the id behind which the next page begins; None where this was the last."""
        limit = self.policy.chunk_batches
        # What is found and what is counted must be of one moment: a batch in both would take its room twice.
        with self.database.read(snapshot=self._caps) as connection:
            if only.queue is not None:
                limit = min(limit, self._room(connection, only.queue))
                if limit <= 0:
                    return [], None
            full = self._full(connection) if only == ALL else ()
            if due:
                before = int((self.clock.now() + self.driver.max_delay) * 1000)
                found = batch_rows.due_batches(
                    connection, limit=limit, before=before, only=only, without_queues=full, longest=self._longest
                )
            else:
                found = batch_rows.pending_batches(
                    connection, limit=limit, after=after, only=only, without_queues=full, longest=self._longest
                )
            capped = {batch.queue for batch in found if batch.queue is not None}
            rooms = {name: self._room(connection, name) for name in capped}
        page = []
        for batch in found:
            if batch.queue is not None:
                if rooms[batch.queue] <= 0:
                    continue
                rooms[batch.queue] -= 1
            page.append(batch)
        more = len(found) == self.policy.chunk_batches and (page or not due)
        return page, found[-1].id if more else None

    @property
    def _caps(self) -> bool:
        return any(queue.max_pending is not None for queue in self.contract.queues.values())

    def _full(self, connection: Connection) -> list[str]:
        return [
            queue.name
            for queue in self.contract.queues.values()
            if queue.max_pending is not None and self._room(connection, queue.name) <= 0
        ]

    def _room(self, connection: Connection, queue: str) -> int:
        """How many tasks a queue takes before it is at its cap."""
        options = self.contract.queues.get(queue)
        if options is None or options.max_pending is None:
            return sys.maxsize
        cap = options.max_pending
        return cap - batch_rows.count_outstanding(connection, queue, states=OUTSTANDING, at_most=cap)

    @property
    def _longest(self) -> int:
        """Bytes of the largest payload that its task carries itself."""
        return min(self.policy.claim_above, self.driver.max_body)

    def _push(self, page: Sequence[BatchRow]) -> list[PushResult]:
        known = [batch for batch in page if batch.handler in self.contract.by_id]
        results = iter(self.driver.push_many([self._task_of(batch) for batch in known]))
        outcomes = [next(results) if batch.handler in self.contract.by_id else _NO_HANDLER for batch in page]
        self._write_down(page, outcomes)
        return outcomes

    def _task_of(self, batch: BatchRow) -> Push:
        operation = self.contract.by_id[batch.handler]
        assert operation.task is not None
        body = batch.payload.encode()
        claims = not body or len(body) > self._longest
        return Push(
            queue=operation.task.queue,
            name=name_task(batch.run_id, batch.id, batch.generation),
            url=self.service_url + operation.path,
            body=orjson.dumps({"claim": batch.id}) if claims else body,
            deadline=operation.task.dispatch_deadline,
            schedule_at=None if batch.due_at is None else batch.due_at / 1000,
            headers=_headers(batch, claims=claims),
            driver=operation.task.driver,
        )

    def _overdue(self, batch: BatchRow) -> int:
        # What was lost before is asked after later each time: a queue may shed for hours.
        return int(self.policy.overdue * 1000 * 2 ** min(batch.losses, _DOUBLINGS))

    def _write_down(self, page: Sequence[BatchRow], outcomes: Sequence[PushResult]) -> None:
        now = int(self.clock.now() * 1000)
        arrived = [
            (batch.id, batch.generation, max(now, batch.due_at or 0) + self._overdue(batch))
            for batch, result in zip(page, outcomes, strict=True)
            if result.outcome in _ARRIVED
        ]
        with self.database.write() as connection:
            # In the order of their ids, as all who lock several batches.
            batch_rows.mark_pushed(connection, sorted(arrived))
            for (handler, outcome), count in _tallied(page, outcomes).items():
                note(connection, Pushed(handler, outcome.value, count))
            for batch, result in zip(page, outcomes, strict=True):
                if result.outcome is not PushOutcome.REFUSED:
                    continue
                _log.error("push refused", run_id=batch.run_id, batch=batch.number, reason=result.reason)
                if batch_rows.bury_batch(connection, batch, cause=Cause.REFUSED, error=result.reason, now=now) and (
                    step_rows.count_batch(connection, batch.step_id, dead=1, items_failed=batch.item_count)
                ):
                    end_if_complete(connection, batch.step_id, now=now)


def _tallied(page: Sequence[BatchRow], outcomes: Sequence[PushResult]) -> Counter[tuple[str, PushOutcome]]:
    return Counter((batch.handler, result.outcome) for batch, result in zip(page, outcomes, strict=True))


def _headers(batch: BatchRow, *, claims: bool) -> tuple[tuple[str, str], ...]:
    claim = ((CLAIM_HEADER, str(batch.id)),) if claims else ()
    return claim if batch.trace is None else (*claim, (traces.HEADER, batch.trace))


_DOUBLINGS = 6
_ARRIVED = (PushOutcome.PUSHED, PushOutcome.DUPLICATE)
OUTSTANDING = (BatchState.PUSHED, BatchState.RUNNING)
"""What counts against a queue's cap: on the queue, or taken from it and not ended."""
_NO_HANDLER = PushResult(PushOutcome.REFUSED, "openapi.yaml no longer has the handler of this batch.")
