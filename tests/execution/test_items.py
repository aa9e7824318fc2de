"""Items of a batch: each has its own outcome, and a retry executes only what is left."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from headrace.clock import ManualClock
from headrace.database import Database, item_rows
from headrace.database.states import BatchState, ItemState, Outcome
from headrace.errors import ItemsFailed, LostLease, PermanentFailure, Retry, Snooze
from headrace.execution.batch import Batch
from headrace.execution.items import Item
from tests.execution.one_batch import Killed, OneBatch, write
from tests.instance import written
from tests.queue_in_memory import QueueInMemory

Make = Callable[..., OneBatch]


@pytest.fixture
def make(database: Database, queue: QueueInMemory, clock: ManualClock) -> Make:
    """Makes a run of one batch: of its handler, and of options of x-task."""

    def make(handle: Callable[[Batch], Any], **options: Any) -> OneBatch:
        return OneBatch(database, queue, clock, handle, **options)

    return make


def in_transactions(failing: Callable[[Item], None]) -> Callable[[Batch], None]:
    """A handler that writes each item down in its own transaction, and calls `failing` inside."""

    def work(item: Item) -> None:
        with item.transaction() as connection:
            write(connection, item.value)
            failing(item)

    return lambda batch: batch.for_each(work)


def in_chunks(failing: Callable[[Any], None]) -> Callable[[Batch], None]:
    """A handler that writes items down, many in a transaction, and calls `failing` with each value."""

    def work(connection: Connection, value: Any) -> None:
        write(connection, value)
        failing(value)

    return lambda batch: batch.write_each(work)


# for_each


def test_one_of_fifty_items_fails_and_the_second_attempt_executes_that_one_alone(
    make: Make, database: Database
) -> None:
    calls: Counter[int] = Counter()

    def fail_once(item: Item) -> None:
        calls[item.value] += 1
        if item.value == 7 and calls[7] == 1:
            raise KeyError("no such user")

    batch = make(in_transactions(fail_once), count=50)
    with pytest.raises(ItemsFailed, match="1 of 50 items failed; first: KeyError: 'no such user'"):
        batch.deliver()
    assert batch.row().outcomes == "dddddd" + "r" + 43 * "d"
    (trouble,) = batch.troubled()
    assert (trouble.position, trouble.value, trouble.state) == (6, "7", ItemState.RETRIED)
    assert (trouble.error, trouble.attempt) == ("KeyError: 'no such user'", 1)
    assert 7 not in written(database), "what the item wrote went with its transaction"
    batch.deliver()
    assert calls == Counter(range(1, 51)) + Counter([7])
    assert written(database) == batch.items
    assert batch.troubled() == []
    shown = batch.shown()
    assert (shown["state"], shown["items_done"], shown["items_failed"], shown["retries"]) == ("completed", 50, 0, 1)


def test_an_item_that_fails_for_good_is_not_tried_again_and_does_not_fail_the_batch(make: Make) -> None:
    calls: list[int] = []

    def fail(item: Item) -> None:
        calls.append(item.value)
        if item.value == 2:
            raise PermanentFailure("left the project")
        if item.value == 3 and len(calls) == 3:
            raise ValueError

    batch = make(lambda batch: batch.for_each(fail))
    with pytest.raises(ItemsFailed, match="1 of 3"):
        batch.deliver()
    batch.deliver()
    assert calls == [1, 2, 3, 3]
    assert (batch.row().state, batch.row().outcomes) == (BatchState.DONE, "dfd")
    shown = batch.shown()
    assert (shown["state"], shown["items_done"], shown["items_failed"]) == ("completed", 2, 1)
    with batch.database.read() as connection:
        (failed,) = item_rows.failed_items(connection, batch.run_id, limit=10)
    assert (failed.value, failed.state, failed.error) == ("2", ItemState.FAILED, "PermanentFailure: left the project")


def test_errors_that_the_contract_calls_permanent_fail_an_item_for_good(make: Make) -> None:
    def fail(item: Item) -> None:
        raise {1: KeyError, 2: LookupError, 3: LookupError}[item.value]

    batch = make(lambda batch: batch.for_each(fail), permanent=(LookupError,))
    batch.deliver()
    assert (batch.row().state, batch.row().outcomes) == (BatchState.DONE, "fff")


def test_an_item_whose_work_opens_no_transaction_is_done_when_its_work_returns(make: Make) -> None:
    seen: list[str | None] = []
    batch = make(lambda batch: batch.for_each(lambda item: seen.append(batch.outcomes)))
    batch.deliver()
    assert seen == [None, "d..", "dd."]
    assert batch.row().outcomes == "ddd"


def test_an_attempt_that_is_killed_leaves_only_what_it_had_not_committed(make: Make, database: Database) -> None:
    def die(item: Item) -> None:
        if item.value == 2 and not batch.attempts():
            raise Killed

    batch = make(in_transactions(die))
    with pytest.raises(Killed):
        batch.deliver()
    assert (batch.row().outcomes, written(database)) == ("d..", [1])
    batch.clock.advance(26)
    batch.deliver()
    assert (batch.row().outcomes, written(database)) == ("ddd", [1, 2, 3])


def test_an_item_has_one_transaction_and_nothing_behind_it(make: Make, database: Database) -> None:
    def work(item: Item) -> None:
        with pytest.raises(ZeroDivisionError), item.transaction() as connection:
            write(connection, 1 // 0)
        with item.transaction() as connection:
            write(connection, item.value)
        with pytest.raises(RuntimeError, match="its transaction comes last"), item.transaction():
            pass
        with pytest.raises(RuntimeError, match="its transaction comes last"):
            item.once("mail", lambda key: None)

    batch = make(lambda batch: batch.for_each(work))
    batch.deliver()
    assert written(database) == [1, 2, 3]


def test_an_error_behind_an_items_transaction_fails_the_attempt_and_does_not_undo_the_item(
    make: Make, database: Database
) -> None:
    def work(item: Item) -> None:
        with item.transaction() as connection:
            write(connection, item.value)
        if item.value == 1:
            raise ValueError("too late")

    batch = make(lambda batch: batch.for_each(work))
    with pytest.raises(ValueError, match="too late"):
        batch.deliver()
    assert batch.row().outcomes == "d.."
    batch.deliver()
    assert written(database) == [1, 2, 3]


def test_an_items_transaction_that_was_taken_back_is_not_kept_by_another(make: Make) -> None:
    def handle(context: Batch) -> None:
        def work(item: Item) -> None:
            with pytest.raises(ZeroDivisionError), item.transaction() as connection:
                write(connection, 1 // 0)
            with context.transaction() as connection:
                write(connection, 100)
            raise ValueError("not done")

        context.for_each(work)

    batch = make(handle)
    with pytest.raises(ItemsFailed, match="3 of 3"):
        batch.deliver()
    assert batch.row().outcomes == "rrr"


@pytest.mark.parametrize("each", ["for_each", "write_each"])
def test_what_fails_behind_a_commit_does_not_undo_it(make: Make, database: Database, each: str) -> None:
    def fail() -> None:
        raise OSError("the queue is gone")

    def work(connection: Connection, value: int) -> None:
        write(connection, value)
        if value == 1:
            database.after_commit(connection, fail)

    def transact(item: Item) -> None:
        with item.transaction() as connection:
            work(connection, item.value)

    batch = make(lambda batch: batch.for_each(transact) if each == "for_each" else batch.write_each(work))
    with pytest.raises(OSError, match="the queue is gone"):
        batch.deliver()
    assert batch.row().outcomes == ("d.." if each == "for_each" else "ddd")
    batch.deliver()
    assert written(database) == [1, 2, 3]
    assert batch.shown()["state"] == "completed"


def test_an_item_of_an_attempt_that_was_fenced_off_is_not_kept(make: Make, database: Database) -> None:
    def stall(item: Item) -> None:
        if not batch.attempts() and item.value == 2:
            batch.clock.advance(26)
            batch.instance.sweeps.reap()

    def work(item: Item) -> None:
        stall(item)
        with item.transaction() as connection:
            write(connection, item.value)

    batch = make(lambda batch: batch.for_each(work))
    with pytest.raises(LostLease):
        batch.deliver()
    assert written(database) == [1]
    assert batch.row().outcomes == "d.."


def test_what_items_say_of_when_to_come_back_is_kept(make: Make) -> None:
    def work(item: Item) -> None:
        if item.value < 3 and not batch.attempts():
            raise Retry("busy", after=30.0 * item.value)

    batch = make(lambda batch: batch.for_each(work))
    begun = batch.clock.now()
    batch.deliver()
    row = batch.row()
    assert (row.state, row.outcomes, row.failures) == (BatchState.PUSHED, "rrd", 1)
    (push,) = batch.queue.tasks.values()
    assert push.schedule_at == begun + 60, "the longest wait of all"
    batch.deliver()
    assert batch.row().state is BatchState.DONE


@pytest.mark.parametrize("each", ["for_each", "write_each"])
def test_snooze_is_said_of_the_batch_and_what_is_done_stays_done(make: Make, each: str) -> None:
    calls: list[int] = []

    def work(value: int) -> None:
        calls.append(value)
        if value == 2 and not batch.attempts():
            raise Snooze(60)

    works = {"for_each": lambda item: work(item.value), "write_each": lambda connection, value: work(value)}
    batch = make(lambda batch: getattr(batch, each)(works[each]))
    batch.deliver()
    assert (batch.row().outcomes, [attempt.outcome for attempt in batch.attempts()]) == ("d..", [Outcome.SNOOZED])
    batch.deliver()
    assert calls == [1, 2, 2, 3]
    assert batch.shown()["state"] == "completed"


def test_what_an_item_warned_of_is_shown_also_when_a_later_attempt_ends_the_batch(make: Make) -> None:
    def work(item: Item) -> None:
        if item.value == 1:
            item.warn("has no address")
        if item.value == 3 and not batch.attempts():
            raise ValueError

    batch = make(lambda batch: batch.for_each(work))
    with pytest.raises(ItemsFailed):
        batch.deliver()
    batch.deliver()
    assert (batch.row().state, batch.row().error) == (BatchState.DONE, "Item 0: has no address")
    assert [(item.position, item.state) for item in batch.troubled()] == [(0, ItemState.DONE)]


@pytest.mark.parametrize("each", ["for_each", "write_each", "once", "transaction"])
def test_a_cancelled_run_stops_its_attempts_at_their_next_step(make: Make, each: str) -> None:
    calls: list[str] = []

    def work(*_given: Any) -> None:
        calls.append(each)
        if len(calls) == 1:
            batch.cancel()
        batch.clock.advance(1)

    def transact(batch: Batch) -> None:
        with batch.transaction():
            pass

    steps: dict[str, Callable[[Batch], object]] = {
        "for_each": lambda batch: batch.for_each(work),
        "write_each": lambda batch: batch.write_each(lambda connection, value: pytest.fail("it was cancelled")),
        "once": lambda batch: batch.once("mail", lambda key: pytest.fail("it was cancelled")),
        "transaction": transact,
    }

    def handle(batch: Batch) -> None:
        if each != "for_each":
            work()
        steps[each](batch)
        pytest.fail("it goes on")

    batch = make(handle)
    batch.deliver()
    assert len(calls) == 1
    assert batch.row().state is BatchState.CANCELLED
    shown = batch.shown()
    assert (shown["state"], shown["items_done"]) == ("cancelled", 1 if each == "for_each" else 0)


# write_each


def test_an_item_that_breaks_a_constraint_takes_back_its_own_writes_alone(make: Make, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("CREATE UNIQUE INDEX once ON written (number)"))
        write(connection, 2)

    def work(connection: Connection, value: int) -> None:
        write(connection, value + 100)
        write(connection, value)

    batch = make(lambda batch: batch.write_each(work))
    with pytest.raises(ItemsFailed, match="1 of 3 items failed; first: IntegrityError"):
        batch.deliver()
    assert written(database) == [1, 2, 3, 101, 103]
    assert batch.row().outcomes == "drd"
    with database.write() as connection:
        connection.execute(text("DELETE FROM written WHERE number = 2"))
    batch.deliver()
    assert written(database) == [1, 2, 3, 101, 102, 103]
    assert (batch.row().state, batch.troubled()) == (BatchState.DONE, [])


def test_the_last_items_and_the_end_of_the_batch_are_one_transaction(make: Make, database: Database) -> None:
    """The handler dies once inside, so neither is kept; and once behind the commit, so both are."""
    deaths = ["inside", "behind"]

    def die(value: int) -> None:
        if value == 3 and deaths[0] == "inside":
            deaths.pop(0)
            raise Killed

    def handle(batch: Batch) -> None:
        in_chunks(die)(batch)
        raise Killed

    batch = make(handle)
    with pytest.raises(Killed):
        batch.deliver()
    assert (written(database), batch.row().outcomes, batch.shown()["state"]) == ([], None, "running")
    batch.clock.advance(26)
    with pytest.raises(Killed):
        batch.deliver()
    assert (written(database), batch.row().outcomes, batch.shown()["state"]) == ([1, 2, 3], "ddd", "completed")
    batch.deliver()
    shown = batch.shown()
    assert (written(database), shown["attempts"], shown["items_done"]) == ([1, 2, 3], 2, 3)


def test_a_transaction_has_at_most_a_hundred_items(make: Make, database: Database) -> None:
    seen: list[int] = []
    batch = make(in_chunks(lambda value: seen.append(len(written(database)))), count=230)
    batch.deliver()
    assert Counter(seen) == {0: 100, 100: 100, 200: 30}
    assert written(database) == batch.items


def test_a_transaction_lasts_no_longer_than_others_may_wait(make: Make, database: Database) -> None:
    seen: list[int] = []

    def take_time(value: int) -> None:
        seen.append(len(written(database)))
        batch.clock.advance(0.15)

    batch = make(in_chunks(take_time), count=5)
    batch.deliver()
    assert seen == [0, 0, 2, 2, 4]


def test_items_that_fail_for_good_do_not_keep_a_batch_from_its_end(make: Make, database: Database) -> None:
    def fail(value: int) -> None:
        if value > 1:
            raise PermanentFailure("gone")

    batch = make(in_chunks(fail))
    batch.deliver()
    assert (batch.row().state, batch.row().outcomes, written(database)) == (BatchState.DONE, "dff", [1])
    assert batch.shown()["items_failed"] == 2


def test_a_chunk_of_an_attempt_that_was_fenced_off_is_not_kept(make: Make, database: Database) -> None:
    def handle(batch_: Batch) -> None:
        if not batch.attempts():
            batch.clock.advance(26)
            batch.instance.sweeps.reap()
        in_chunks(lambda value: None)(batch_)

    batch = make(handle)
    with pytest.raises(LostLease):
        batch.deliver()
    assert written(database) == []


def test_a_batch_without_items_is_done(make: Make) -> None:
    batch = make(lambda batch: batch.write_each(lambda connection, value: pytest.fail("there is none")))
    batch.items = []
    batch.instance.deliver(next(iter(batch.queue.tasks.values())), [])
    assert batch.row().state is BatchState.DONE


def test_an_effect_inside_a_transaction_is_refused_at_once(make: Make) -> None:
    def work(connection: Connection, value: int) -> None:
        context.once("mail", lambda key: pytest.fail("it is no part of a transaction"))

    def handle(batch: Batch) -> None:
        nonlocal context
        context = batch
        batch.write_each(work)

    context: Any = None
    batch = make(handle)
    with pytest.raises(ItemsFailed, match="A transaction inside a transaction"):
        batch.deliver()


@pytest.mark.parametrize("kind", [in_transactions, in_chunks])
def test_an_item_whose_error_no_database_keeps_is_in_trouble_like_any_other(make: Make, kind: Any) -> None:
    def fail(work: Any) -> None:
        if getattr(work, "value", work) == 2:
            raise ValueError("nul \0 and half a pair \ud800")

    batch = make(kind(fail))
    with pytest.raises(ItemsFailed, match="1 of 3 items failed"):
        batch.deliver()
    (trouble,) = batch.troubled()
    assert (trouble.position, trouble.error) == (1, "ValueError: nul \\x00 and half a pair \\ud800")
    assert batch.row().outcomes == "drd"
