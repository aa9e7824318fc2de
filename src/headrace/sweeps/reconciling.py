"""Asks queues about batches that are overdue, and ends steps that their counters forgot."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, batch_rows, step_rows
from headrace.database.batch_rows import BatchRow
from headrace.database.states import BatchState, Cause
from headrace.drivers.base import Driver
from headrace.errors import DriverError
from headrace.execution.ending import tally
from headrace.runs.fanin import end_if_complete
from headrace.runs.names import name_task
from headrace.runs.policy import RunPolicy

_log = structlog.get_logger(__name__)
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Compares what should be on the queues with what is."""

    database: Database
    contract: Contract
    driver: Driver
    clock: Clock
    policy: RunPolicy

    def reconcile(self, until: float) -> dict[str, int]:
        """Mend what differs, until a time in epoch seconds: a task that vanished waits for its next push, or is dead.

        Also ends steps whose rows are all terminal although their counters said otherwise.
        """
        counts = {"asked": 0, "renewed": 0, "dead": 0, "ended": self._end_steps()}
        while self.clock.now() < until:
            now = int(self.clock.now() * 1000)
            with self.database.read() as connection:
                page = batch_rows.batches_to_check(connection, now=now, limit=_PAGE)
            if not page:
                break
            counts["asked"] += len(page)
            try:
                for lost in self._vanished(page):
                    self._settle(lost, counts)
            except DriverError as error:
                _log.warning("queue could not be asked", error=str(error))
                break
        return counts

    def _vanished(self, page: Sequence[BatchRow]) -> Iterator[BatchRow]:
        """Of a page of overdue batches, those without a task; the others are asked after again later."""
        by_queue: dict[str, dict[str, BatchRow]] = defaultdict(dict)
        for batch in page:
            queue, name = self._task_of(batch)
            by_queue[queue][name] = batch
        for queue, named in by_queue.items():
            missing = self.driver.missing(queue, list(named)) if queue else set(named)
            alive = [batch.id for name, batch in named.items() if name not in missing]
            later = int((self.clock.now() + 5 * self.policy.overdue) * 1000)
            with self.database.write() as connection:
                batch_rows.check_later(connection, alive, check_at=later)
            yield from (named[name] for name in named if name in missing)

    def _task_of(self, batch: BatchRow) -> tuple[str, str]:
        if batch.adopted_from is not None and batch.generation == 1:
            queue, _, name = batch.adopted_from.partition("/")
            return queue, name
        return self._queue_of(batch), name_task(batch.run_id, batch.id, batch.generation)

    def _queue_of(self, batch: BatchRow) -> str:
        operation = self.contract.by_id.get(batch.handler)
        return operation.task.queue if operation is not None and operation.task is not None else ""

    def _settle(self, batch: BatchRow, counts: dict[str, int]) -> None:
        """What ran out of tries is dead already; of a queue with unknown limits, a failed attempt was the last word."""
        gave_up, cause = "", Cause.VANISHED
        if batch.failures > 0 and self._queue_of(batch) not in self.contract.queues:
            cause = Cause.EXHAUSTED
            gave_up = f"The queue gave up after {batch.attempt} attempts. Last: {batch.error}"
        elif batch.check_at != batch_rows.EMPTIED and batch.losses + 1 >= self.policy.max_losses:
            gave_up = f"It was lost {batch.losses + 1} times in a row: its task vanishes, or its attempts die."
        now = int(self.clock.now() * 1000)
        with self.database.write() as connection:
            if not gave_up:
                counts["renewed"] += batch_rows.renew_batch(connection, batch)
            elif batch_rows.bury_batch(connection, batch, cause=cause, error=gave_up, now=now):
                counts["dead"] += 1
                _log.error("batch is dead", run_id=batch.run_id, batch=batch.number, reason=gave_up)
                items_done, items_failed = tally(BatchState.DEAD, batch.outcomes, batch.item_count)
                if step_rows.count_batch(
                    connection, batch.step_id, dead=1, items_done=items_done, items_failed=items_failed
                ):
                    end_if_complete(connection, batch.step_id, now=now)

    def _end_steps(self) -> int:
        with self.database.read() as connection:
            stuck = step_rows.unended_steps(connection, limit=100)
        for step in stuck:
            with self.database.write() as connection:
                end_if_complete(connection, step.id, now=int(self.clock.now() * 1000))
        return len(stuck)
