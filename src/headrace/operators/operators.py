"""All that operators and owners see and do, behind one name."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.clock import rfc3339
from headrace.database import Database, audit_rows
from headrace.database.audit_rows import EVERYTHING, AuditFilter
from headrace.drivers.queues import QueueControls
from headrace.operators.batch_details import BatchDetails
from headrace.operators.cancelling import Cancelling
from headrace.operators.dead_letters import DeadLetters
from headrace.operators.decisions import Decisions
from headrace.operators.operations import Operations
from headrace.operators.queue_purging import QueuePurging
from headrace.operators.queued_tasks import QueuedTasks
from headrace.operators.queues import Queues
from headrace.operators.tasks import Tasks
from headrace.runs.pushing import Pusher
from headrace.runs.queue_loads import QueueLoads


@dataclass(frozen=True, slots=True)
class Operators:
    """Every change writes a row of the audit, with its actor, in its own transaction; a refused one changes nothing."""

    database: Database
    batches: BatchDetails
    dead_letters: DeadLetters
    decisions: Decisions
    cancelling: Cancelling
    operations: Operations
    queues: Queues
    queued_tasks: QueuedTasks
    tasks: Tasks

    def audit(self, *, limit: int, where: AuditFilter = EVERYTHING) -> Sequence[dict[str, Any]]:
        """What operators did, the newest first, at most `limit` rows of those that match."""
        with self.database.read() as connection:
            rows = audit_rows.list_audit(connection, limit=limit, where=where)
        return [{**asdict(row), "at": rfc3339(row.at)} for row in rows]


def make_operators(
    pusher: Pusher, go_on: Callable[[str], None], controls: QueueControls, limited: Callable[[], object]
) -> Operators:
    """All of it on the parts of a service; `go_on` asks that a run be gone on with soon, `limited`: see `Queues`."""
    database, clock, contract, relay = pusher.database, pusher.clock, pusher.contract, pusher.relay
    dead_letters = DeadLetters(pusher)
    decisions = Decisions(database, clock, relay, go_on)
    purging = QueuePurging(database, contract, clock, relay, go_on)
    return Operators(
        database,
        BatchDetails(database),
        dead_letters,
        decisions,
        Cancelling(database, clock, pusher.policy, go_on),
        Operations(database),
        Queues(database, contract, clock, controls, QueueLoads(database, contract, clock), purging, limited),
        QueuedTasks(database, contract, clock, controls, relay),
        Tasks(database, clock, contract, dead_letters, decisions),
    )
