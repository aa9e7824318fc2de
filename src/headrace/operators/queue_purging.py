"""What waits for a queue, ended."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, audit_rows, step_rows, waiting_rows
from headrace.database.states import BatchState
from headrace.database.waiting_rows import Waiting, Waits
from headrace.execution.ending import tally
from headrace.runs.fanin import end_if_complete
from headrace.runs.relay import Relay

_PAGE = 1_000
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Purged:
    """How many batches were ended, and whether the time was over before it was seen that no more wait."""

    batches: int
    more: bool


@dataclass(frozen=True, slots=True)
class QueuePurging:
    """Ends what waits, piece by piece, each in a short transaction. `go_on` asks that a run be gone on with soon.

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

    def end_waiting(self, queue: str, *, actor: str, until: float) -> Purged:
        """Cancel the batches that wait for a queue now, and that no attempt holds. Audited before it begins.

        Stops after the first piece that ends at the time `until`, in epoch seconds, or later. Steps and runs that
        lose their last batches end. What is written meanwhile is left.
        """
        handlers = self.handlers_of(queue)
        with self.database.write() as connection:
            newest = waiting_rows.newest_id(connection)
            audit_rows.record(connection, at=self._now(), actor=actor, action="purge_queue", object=f"queue/{queue}")
        ended, in_round = 0, 1
        # One that goes from one way of waiting to another may be missed in a round.
        while in_round and handlers:
            in_round = 0
            for piece in _pieces(self._list(handlers, Waits, newest)):
                in_round += self._cancel(piece)
                if self.clock.now() >= until:
                    return Purged(ended + in_round, more=True)
            ended += in_round
        return Purged(ended, more=False)

    def mark_emptied(self, queue: str) -> None:
        """Have a sweep push again what was pushed while the queue was emptied, and lost its task: that is no loss."""
        handlers = self.handlers_of(queue)
        with self.database.read() as connection:
            newest = waiting_rows.newest_id(connection)
        for piece in _pieces(self._list(handlers, [Waits.ON_ITS_QUEUE], newest)) if handlers else ():
            with self.database.write() as connection:
                waiting_rows.mark_emptied(connection, piece)

    def refill(self, queue: str) -> None:
        """Push what had no room on a queue with a cap."""
        options = self.contract.queues.get(queue)
        if options is not None and options.max_pending is not None:
            self.relay.push_queues(queue)

    def _list(self, handlers: Sequence[str], ways: Iterable[Waits], until: int) -> Iterator[Waiting]:
        """What waits in these ways, one way after the other; outside of transactions, for it may be behind others'."""
        for waits in ways:
            after = None
            while True:
                with self.database.read() as connection:
                    page = waiting_rows.list_waiting(connection, handlers, waits, until=until, after=after, limit=_PAGE)
                yield from page
                if len(page) < _PAGE:
                    break
                after = page[-1]

    def _cancel(self, batch_ids: Sequence[int]) -> int:
        now = self._now()
        with self.database.write() as connection:
            cancelled = waiting_rows.cancel_waiting(connection, batch_ids, now=now)
            counts = Counter(each.step_id for each in cancelled)
            items_done: Counter[int] = Counter()
            for each in cancelled:
                items_done[each.step_id] += tally(BatchState.CANCELLED, each.outcomes, each.item_count)[0]
            # All steps before a run: an attempt that ends holds its step while it waits for its run.
            ending = [
                step_id
                for step_id in sorted(counts)
                if step_rows.count_batch(connection, step_id, cancelled=counts[step_id], items_done=items_done[step_id])
            ]
            for step_id in ending:
                for run_id in end_if_complete(connection, step_id, now=now):
                    self.database.after_commit(connection, partial(self.go_on, run_id))
        return len(cancelled)

    def _now(self) -> int:
        return int(self.clock.now() * 1000)


def _pieces(waiting: Iterable[Waiting]) -> Iterator[list[int]]:
    """The ids, in pieces that a transaction takes: of so many batches, and so many steps, at most. Pure."""
    piece: list[int] = []
    steps: set[int] = set()
    for each in waiting:
        if len(piece) == _PAGE or (len(steps) == _STEPS and each.step_id not in steps):
            yield piece
            piece, steps = [], set()
        piece.append(each.id)
        steps.add(each.step_id)
    if piece:
        yield piece
