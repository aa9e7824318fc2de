"""What waits for a queue, ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, audit_rows, step_rows, waiting_rows
from headrace.database.waiting_rows import Waiting, Waits
from headrace.runs.fanin import end_if_complete
from headrace.runs.relay import Relay

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class QueuePurging:
    """Ends what waits, page by page, each in a transaction of its own. `go_on` asks that a run be gone on with soon.

    Rows are ended before their queue is emptied: a sweep that finds a task gone must not find its batch waiting, or
    it would push it again; and a task whose batch is cancelled is delivered without work.
    """

    database: Database
    contract: Contract
    clock: Clock
    relay: Relay
    go_on: Callable[[str], None]

    def handlers_of(self, queue: str) -> list[str]:
        """The handlers whose tasks go through a queue, by operationId."""
        operations = self.contract.operations
        return [each.operation_id for each in operations if each.task is not None and each.task.queue == queue]

    def end_waiting(self, queue: str, *, actor: str) -> int:
        """Cancel the batches that wait for a queue now, and that no attempt holds; how many. Audited before it begins.

        Steps and runs that lose their last batches end. What is written meanwhile is left.
        """
        handlers = self.handlers_of(queue)
        with self.database.write() as connection:
            until = waiting_rows.newest_id(connection)
            audit_rows.record(connection, at=self._now(), actor=actor, action="purge_queue", object=f"queue/{queue}")
        return sum(self._end(handlers, waits, until) for waits in Waits) if handlers else 0

    def refill(self, queue: str) -> None:
        """Push what had no room on a queue with a cap."""
        options = self.contract.queues.get(queue)
        if options is not None and options.max_pending is not None:
            self.relay.push_queues(queue)

    def _end(self, handlers: Sequence[str], waits: Waits, until: int) -> int:
        ended, after = 0, None
        while True:
            with self.database.write() as connection:
                page = waiting_rows.list_waiting(connection, handlers, waits, until=until, after=after, limit=_PAGE)
                ended += self._cancel(connection, page)
            if len(page) < _PAGE:
                return ended
            after = page[-1]

    def _cancel(self, connection: Connection, page: Sequence[Waiting]) -> int:
        now = self._now()
        by_step = waiting_rows.cancel_waiting(connection, [each.id for each in page], now=now)
        for step_id in sorted(by_step):
            if step_rows.count_batch(connection, step_id, cancelled=by_step[step_id]):
                for run_id in end_if_complete(connection, step_id, now=now):
                    self.database.after_commit(connection, partial(self.go_on, run_id))
        return by_step.total()

    def _now(self) -> int:
        return int(self.clock.now() * 1000)
