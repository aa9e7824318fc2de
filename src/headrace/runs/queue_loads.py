"""How full the queues with a cap are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, batch_rows
from headrace.database.states import BatchState
from headrace.runs.relay import OUTSTANDING

PENDING_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class QueueLoads:
    """Reads how much waits before each queue, and how much it has."""

    database: Database
    contract: Contract
    clock: Clock

    def list(self) -> Sequence[dict[str, Any]]:
        """The queues of `x-queues`, in the order of queue.yaml.

        `outstanding` tasks are on the queue or being executed, `pending` ones wait for room and are counted up to
        10,000; `oldest_age` is in seconds, since the run of the first of them began: None where none waits.
        """
        capped = [queue for queue in self.contract.queues.values() if queue.max_pending is not None]
        return [self._load(queue.name, queue.max_pending or 0, queue.when_full.value) for queue in capped]

    def _load(self, name: str, cap: int, when_full: str) -> dict[str, Any]:
        with self.database.read() as connection:
            # Where the cap was lowered, more than it are outstanding.
            outstanding = batch_rows.count_outstanding(connection, name, states=OUTSTANDING, at_most=PENDING_COUNTED)
            pending = batch_rows.count_outstanding(
                connection, name, states=(BatchState.PENDING,), at_most=PENDING_COUNTED
            )
            oldest = batch_rows.oldest_waiting(connection, name)
        return {
            "queue": name,
            "max_pending": cap,
            "when_full": when_full,
            "outstanding": outstanding,
            "pending": pending,
            "oldest_age": None if oldest is None else max(0.0, self.clock.now() - oldest / 1000),
        }
