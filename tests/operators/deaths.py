"""How batches of these tests die, and what is seen of them."""

from contextlib import suppress
from typing import Any

import orjson

from headrace.database import Database, batch_rows
from headrace.database.audit_rows import AuditRow, list_audit
from headrace.database.batch_rows import BatchRow
from headrace.errors import HeadraceError
from headrace.operators.dead_letters import Matching
from tests.instance import Instance
from tests.queue_in_memory import QueueInMemory


def deliver_all(queue: QueueInMemory, *instances: Instance) -> None:
    """Deliver each task once, in turns to the instances, whatever its handler says; none is left on the queue."""
    turn = 0
    while queue.tasks:
        name, push = next(iter(queue.tasks.items()))
        with suppress(HeadraceError, ValueError):
            instances[turn % len(instances)].deliver(push, orjson.loads(push.body))
        del queue.tasks[name]
        turn += 1


def batch_of(database: Database, batch_id: int) -> BatchRow:
    with database.read() as connection:
        batch = batch_rows.find_batch(connection, batch_id)
    assert batch is not None
    return batch


def audited(database: Database) -> list[AuditRow]:
    """What operators did, the oldest first."""
    with database.read() as connection:
        return list(reversed(list_audit(connection, limit=1_000)))


def dead_ids(instance: Instance, **matching: Any) -> list[int]:
    """The dead batches in the order of their ids."""
    return sorted(each["batch_id"] for each in instance.operators.dead_letters.list(Matching(**matching), limit=1_000))
