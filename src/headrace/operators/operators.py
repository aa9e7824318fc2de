"""All that operators and owners see and do, behind one name."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.clock import rfc3339
from headrace.database import Database, audit_rows
from headrace.operators.batch_details import BatchDetails
from headrace.operators.cancelling import Cancelling
from headrace.operators.dead_letters import DeadLetters
from headrace.operators.decisions import Decisions
from headrace.operators.operations import Operations
from headrace.operators.tasks import Tasks
from headrace.runs.pushing import Pusher


@dataclass(frozen=True, slots=True)
class Operators:
    """Every change writes a row of the audit, with its actor, in its own transaction; a refused one changes nothing."""

    database: Database
    batches: BatchDetails
    dead_letters: DeadLetters
    decisions: Decisions
    cancelling: Cancelling
    operations: Operations
    tasks: Tasks

    def audit(self, *, limit: int, object: str | None = None) -> Sequence[dict[str, Any]]:
        """What operators did, the newest first; to one object (`batch/7`, `run/…`) where it is given."""
        with self.database.read() as connection:
            rows = audit_rows.list_audit(connection, limit=limit, object=object)
        return [{**asdict(row), "at": rfc3339(row.at)} for row in rows]


def make_operators(pusher: Pusher, go_on: Callable[[str], None]) -> Operators:
    """All of it on the parts of a service; `go_on` asks that a run be gone on with soon."""
    database, clock = pusher.database, pusher.clock
    dead_letters = DeadLetters(pusher)
    decisions = Decisions(database, clock, pusher.relay, go_on)
    return Operators(
        database,
        BatchDetails(database),
        dead_letters,
        decisions,
        Cancelling(database, clock, pusher.policy, go_on),
        Operations(database),
        Tasks(database, clock, pusher.contract, dead_letters, decisions),
    )
