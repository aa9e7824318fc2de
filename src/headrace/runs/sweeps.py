"""The sweeps: each finds and mends one kind of thing left undone, within a bounded time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, batch_rows, run_rows
from headrace.database.batch_rows import BatchRow
from headrace.database.states import Outcome
from headrace.drivers.base import Driver
from headrace.errors import DriverError, HeadraceError
from headrace.runs.fanin import end_if_complete
from headrace.runs.names import name_task
from headrace.runs.policy import RunPolicy
from headrace.runs.relay import Relay
from headrace.runs.starting import JobStarter

_log = structlog.get_logger(__name__)
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Sweeps:
    """Each returns counts of what it mended. Any number may run at once, anywhere."""

    database: Database
    contract: Contract
    driver: Driver
    clock: Clock
    policy: RunPolicy
    relay_: Relay
    starter: JobStarter

    def relay(self) -> dict[str, int]:
        """Push batches that were committed and never reached their queue."""
        return {"pushed": self.relay_.push_pending(until=self._end())}

    def reap(self) -> dict[str, int]:
        """End attempts whose lease ended: the handler died, or lost its way. Their batches wait again."""
        reaped, end = 0, self._end()
        while self.clock.now() < end:
            now = int(self.clock.now() * 1000)
            with self.database.write() as connection:
                leases = batch_rows.expired_leases(connection, now=now, limit=_PAGE)
                for lease in leases:
                    # One whose attempt ended meanwhile after all was counted there.
                    if batch_rows.end_attempt(connection, lease, outcome=Outcome.LOST, now=now, check_at=now):
                        run_rows.count_batch(connection, lease.step_id, attempts=1)
                        reaped += 1
            if len(leases) < _PAGE:
                break
        return {"reaped": reaped}

    def resume(self) -> dict[str, int]:
        """Go on with splits whose splitter is gone."""
        resumed = 0
        with self.database.read() as connection:
            abandoned = run_rows.abandoned_splits(connection, now=int(self.clock.now() * 1000), limit=10)
        for run_id in abandoned:
            try:
                resumed += self.starter.resume(run_id)
            except HeadraceError as error:
                _log.error("split could not go on", run_id=run_id, error=str(error))
        return {"resumed": resumed}

    def reconcile(self) -> dict[str, int]:
        """Ask the queue about overdue batches: a task that vanished is pushed again, or its batch is dead.

        Also ends steps whose rows are all terminal although their counters said otherwise.
        """
        counts = {"asked": 0, "renewed": 0, "dead": 0, "ended": self._end_steps()}
        end = self._end()
        while self.clock.now() < end:
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
        self.relay_.push_pending(until=end)
        return counts

    def purge(self) -> dict[str, int]:
        """Delete runs that ended longer ago than the retention, a few at a time, also under load."""
        purged, end = 0, self._end()
        while self.clock.now() < end:
            before = int((self.clock.now() - self.policy.retention) * 1000)
            with self.database.write() as connection:
                some = run_rows.purge_runs(connection, ended_before=before, limit=1)
            purged += some
            if some == 0:
                break
        return {"purged": purged}

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
        operation = self.contract.by_id.get(batch.handler)
        queue = operation.task.queue if operation is not None and operation.task is not None else ""
        return queue, name_task(batch.run_id, batch.id, batch.generation)

    def _settle(self, batch: BatchRow, counts: dict[str, int]) -> None:
        """A failed attempt was the queue's last word; one that was lost, or never was, is no word at all."""
        gave_up = f"The queue gave up after {batch.attempt} attempts. Last: {batch.error}" if batch.error else ""
        if not gave_up and batch.generation >= self.policy.max_generations:
            gave_up = f"Its task vanished {batch.generation} times."
        now = int(self.clock.now() * 1000)
        with self.database.write() as connection:
            if not gave_up:
                counts["renewed"] += batch_rows.renew_batch(connection, batch)
            elif batch_rows.bury_batch(connection, batch, error=gave_up, now=now):
                counts["dead"] += 1
                _log.error("batch is dead", run_id=batch.run_id, batch=batch.number, reason=gave_up)
                if run_rows.count_batch(connection, batch.step_id, dead=1):
                    end_if_complete(connection, batch.step_id, now=now)

    def _end_steps(self) -> int:
        with self.database.read() as connection:
            stuck = run_rows.unended_steps(connection, limit=100)
        ended = 0
        for step in stuck:
            with self.database.write() as connection:
                ended += end_if_complete(connection, step.id, now=int(self.clock.now() * 1000))
        return ended

    def _end(self) -> float:
        return self.clock.now() + self.policy.sweep_time
