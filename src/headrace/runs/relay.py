"""The relay: pushes what was committed and not pushed yet, in bulk, and writes down what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, batch_rows, run_rows
from headrace.database.batch_rows import BatchRow
from headrace.drivers.base import Driver, Push, PushOutcome, PushResult
from headrace.runs.fanin import end_if_complete
from headrace.runs.names import name_task
from headrace.runs.policy import RunPolicy

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

    def push_pending(self, *, run_id: str | None = None, until: float | None = None) -> int:
        """Push all that waits (of one run), page by page, until a time in epoch seconds; how many were pushed.

        Stops at the first page that the queue could not take whole: the rest stays for the next sweep.
        """
        after, pushed = 0, 0
        while until is None or self.clock.now() < until:
            with self.database.read() as connection:
                page = batch_rows.pending_batches(
                    connection, limit=self.policy.chunk_batches, after=after, run_id=run_id
                )
            if not page:
                break
            outcomes = self._push(page)
            pushed += sum(result.outcome in _ARRIVED for result in outcomes)
            if any(result.outcome is PushOutcome.UNAVAILABLE for result in outcomes):
                break
            after = page[-1].id
        return pushed

    def _push(self, page: Sequence[BatchRow]) -> list[PushResult]:
        known = [batch for batch in page if batch.handler in self.contract.by_id]
        results = iter(self.driver.push_many([self._task_of(batch) for batch in known]))
        outcomes = [next(results) if batch.handler in self.contract.by_id else _NO_HANDLER for batch in page]
        self._write_down(page, outcomes)
        return outcomes

    def _task_of(self, batch: BatchRow) -> Push:
        operation = self.contract.by_id[batch.handler]
        assert operation.task is not None
        return Push(
            queue=operation.task.queue,
            name=name_task(batch.run_id, batch.id, batch.generation),
            url=self.service_url + operation.path,
            body=batch.payload.encode(),
            deadline=operation.task.dispatch_deadline,
        )

    def _write_down(self, page: Sequence[BatchRow], outcomes: Sequence[PushResult]) -> None:
        now = self.clock.now()
        arrived = [
            (batch.id, batch.generation)
            for batch, result in zip(page, outcomes, strict=True)
            if result.outcome in _ARRIVED
        ]
        with self.database.write() as connection:
            batch_rows.mark_pushed(connection, arrived, check_at=int((now + self.policy.overdue) * 1000))
            for batch, result in zip(page, outcomes, strict=True):
                if result.outcome is not PushOutcome.REFUSED:
                    continue
                _log.error("push refused", run_id=batch.run_id, batch=batch.number, reason=result.reason)
                if batch_rows.bury_batch(connection, batch, error=result.reason, now=int(now * 1000)) and (
                    run_rows.count_batch(connection, batch.step_id, dead=1)
                ):
                    end_if_complete(connection, batch.step_id, now=int(now * 1000))


_ARRIVED = (PushOutcome.PUSHED, PushOutcome.DUPLICATE)
_NO_HANDLER = PushResult(PushOutcome.REFUSED, "openapi.yaml no longer has the handler of this batch.")
