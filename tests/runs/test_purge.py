"""What is past its time is deleted in small pieces, and all that belongs to it."""

from itertools import pairwise

import pytest
from sqlalchemy import text

from headrace.clock import ManualClock
from headrace.database import Database, purge_rows
from tests.instance import Instance, Numbers, drain
from tests.queue_in_memory import QueueInMemory

TABLES = ("runs", "steps", "batches", "attempts")


@pytest.fixture
def ended(instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock) -> None:
    application.count = 30
    instance.start()
    first = next(iter(queue.tasks.values()))
    application.on_work = _fail_once()
    with pytest.raises(ValueError, match="once"):
        instance.deliver(first, [1, 2, 3])
    drain(queue, instance)
    clock.advance(1)


def _fail_once():  # type: ignore[no-untyped-def]
    failures = iter([ValueError("once")])

    def fail(_batch: object) -> None:
        for failure in failures:
            raise failure

    return fail


def test_a_large_run_is_deleted_in_pieces_with_all_that_is_its_own(
    ended: None, database: Database, clock: ManualClock
) -> None:
    before = int(clock.now() * 1000)
    left = [_counts(database)]
    pieces = []
    while not pieces or pieces[-1].more:
        with database.write() as connection:
            pieces.append(purge_rows.purge_piece(connection, ended_before=before, limit=4))
        left.append(_counts(database))
    assert [sum(piece.runs for piece in pieces), len(pieces) >= 3] == [1, True]
    for earlier, later in pairwise(left):
        assert earlier["batches"] - later["batches"] <= 4, "no piece deletes more than its limit"
    assert left[0]["batches"] == 10
    assert left[0]["attempts"] == 1
    assert left[-1] == dict.fromkeys(TABLES, 0)


def test_the_sweep_rests_between_pieces_and_leaves_what_is_not_old(
    ended: None, instance: Instance, database: Database, clock: ManualClock
) -> None:
    assert instance.sweeps.purge()["purged"] == 0
    assert _counts(database)["batches"] == 10
    clock.advance(instance.policy.retention)
    assert instance.sweeps.purge()["purged"] == 1
    assert _counts(database) == dict.fromkeys(TABLES, 0)


def _counts(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return {name: connection.execute(text(f"SELECT count(*) FROM headrace_{name}")).scalar_one() for name in TABLES}
