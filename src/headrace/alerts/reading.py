"""Reads what the rules look at: a bounded number of rows, by handlers, jobs and queues of the contract."""

from dataclasses import dataclass

from sqlalchemy import Connection

from headrace.alerts.rules import FullQueue, Share, Thresholds, Troubles
from headrace.clock import Clock
from headrace.contract.operations import Contract, WhenFull
from headrace.database import Database, schedule_rows, trouble_rows
from headrace.database.states import BatchState
from headrace.database.trouble_rows import MOST_READ, Failures
from headrace.runs.queue_loads import QueueLoads
from headrace.runs.timetable import entries_of, in_force

_ENDED = (BatchState.DONE, BatchState.DEAD, BatchState.CANCELLED)


@dataclass(frozen=True, slots=True)
class TroubleReader:
    """Reads the database of a service with this contract."""

    database: Database
    contract: Contract
    clock: Clock
    loads: QueueLoads

    def read(self, thresholds: Thresholds) -> Troubles:
        """What there is now."""
        full_queues = self._full_queues()
        now = int(self.clock.now() * 1000)
        recently = now - int(1000 * thresholds.recent)
        with self.database.read() as connection:
            failures = trouble_rows.failures_since(connection, since=recently)
            silent = trouble_rows.held_too_long(connection, now=now)
            for each in failures:
                if each.silent:
                    silent[each.handler] = silent.get(each.handler, 0) + each.silent
            last_runs = [
                trouble_rows.last_run(connection, each.operation_id) for each in self.contract.operations if each.job
            ]
            return Troubles(
                now=now,
                dead=trouble_rows.dead_since(connection, since=now - int(1000 * thresholds.died)),
                shares=self._shares(connection, failures, recently, thresholds),
                waiting_since=self._waiting(connection, now, thresholds),
                undecided=trouble_rows.undecided(connection),
                silent=silent,
                late_since=self._late(connection, now),
                last_runs=[run for run in last_runs if run is not None],
                full_queues=full_queues,
            )

    def _shares(
        self, connection: Connection, failures: list[Failures], since: int, thresholds: Thresholds
    ) -> dict[str, Share]:
        """Of each handler with enough failures, the share among the batches that were written near the latest."""
        found: dict[str, Share] = {}
        if sum(each.count for each in failures) >= MOST_READ:
            # Earlier ones were not read: what went well at that time does not count either.
            since = min(each.since for each in failures)
        for each in failures:
            if each.count >= thresholds.failures:
                near = connection, each.handler, each.batch_id
                failed = trouble_rows.failures_near(*near, since=since)
                done = trouble_rows.ended_near(*near, since=since, states=(BatchState.DONE,))
                found[each.handler] = Share(failed, failed + done)
        return found

    def _waiting(self, connection: Connection, now: int, thresholds: Thresholds) -> dict[str, int]:
        """Since when a handler's batches wait, where none is executed, and none near the longest waiting one ended."""
        before = now - int(1000 * thresholds.waiting)
        at_work = trouble_rows.at_work(connection, now=now)
        return {
            each.handler: each.since
            for each in trouble_rows.longest_waiting(connection, before=before)
            if each.handler not in at_work
            and not trouble_rows.ended_near(connection, each.handler, each.batch_id, since=before, states=_ENDED)
        }

    def _late(self, connection: Connection, now: int) -> dict[str, int]:
        rows = schedule_rows.list_schedules(connection)
        found = [(rows[entry.url], entry) for entry in entries_of(self.contract).values() if entry.url in rows]
        return {
            row.url: row.late_since or row.next_at for row, entry in found if in_force(entry, row).is_late(row, now)
        }

    def _full_queues(self) -> list[FullQueue]:
        return [
            FullQueue(load["queue"], load["outstanding"], load["when_full"] == WhenFull.REFUSE, load["oldest_age"])
            for load in self.loads.list()
            if load["outstanding"] >= load["max_pending"]
        ]
