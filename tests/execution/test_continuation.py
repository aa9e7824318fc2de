"""A batch whose time is short goes on as another task, and that is no failure."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.database.states import BatchState, Cause, ItemState, Outcome
from headrace.errors import ItemsFailed
from headrace.execution.batch import Batch
from headrace.execution.items import has_progressed, left_of, mark, time_is_short
from headrace.retries import RetryLimits
from tests.execution.one_batch import OneBatch, write
from tests.instance import written
from tests.queue_in_memory import QueueInMemory

Make = Callable[..., OneBatch]
EACH = ["for_each", "write_each"]


@pytest.fixture
def make(database: Database, queue: QueueInMemory, clock: ManualClock) -> Make:
    """Makes a run of one batch: of its handler, and of options of x-task."""

    def make(handle: Callable[[Batch], Any], **options: Any) -> OneBatch:
        return OneBatch(database, queue, clock, handle, **options)

    return make


def each(how: str, work: Callable[[int], None]) -> Callable[[Batch], None]:
    """A handler that writes each item down, in one of the two ways, and calls `work` with its value."""

    def transact(item: Any) -> None:
        with item.transaction() as connection:
            write(connection, item.value)
            work(item.value)

    def handle(batch: Batch) -> None:
        if how == "for_each":
            batch.for_each(transact)
        else:
            batch.write_each(lambda connection, value: (write(connection, value), work(value)))

    return handle


@pytest.mark.parametrize("how", EACH)
def test_a_handler_near_its_deadline_goes_on_as_another_task_and_does_every_item_once(
    make: Make, database: Database, how: str
) -> None:
    batch = make(each(how, lambda value: batch.clock.advance(1.5)), count=20)
    assert batch.drain() == 4, "6 items of 1.5 s each in 10 s, with the time of two to spare"
    assert written(database) == batch.items
    shown = batch.shown()
    assert (shown["state"], shown["attempts"], shown["retries"], shown["items_done"]) == ("completed", 1, 0, 20)
    assert [attempt.outcome for attempt in batch.attempts()] == [Outcome.CONTINUED] * 3
    assert batch.row().generation == 4


@pytest.mark.parametrize("how", EACH)
def test_a_job_of_thirty_minutes_completes_on_a_limit_of_one(make: Make, database: Database, how: str) -> None:
    batch = make(each(how, lambda value: batch.clock.advance(10)), count=180, time_limit=60.0)
    begun = batch.clock.now()
    batch.drain()
    assert batch.clock.now() - begun == 1_800
    assert written(database) == batch.items
    assert batch.shown()["state"] == "completed"


@pytest.mark.parametrize("how", EACH)
def test_an_item_that_takes_most_of_the_limit_is_done_all_the_same(make: Make, database: Database, how: str) -> None:
    batch = make(each(how, lambda value: batch.clock.advance(9.9)))
    assert batch.drain() == 3
    assert written(database) == [1, 2, 3]


@pytest.mark.parametrize("how", EACH)
def test_items_that_always_fail_slowly_do_not_go_on_for_ever(make: Make, database: Database, how: str) -> None:
    def fail(value: int) -> None:
        batch.clock.advance(9.9)
        if value < 3:
            raise ValueError("slow and wrong")

    retry = RetryLimits(max_attempts=2, max_duration=0.0, min_backoff=1.0, max_backoff=1.0, max_doublings=1)
    batch = make(each(how, fail), retry=retry)
    for _ in range(3):
        batch.deliver()
    assert batch.row().outcomes == "rrd"
    for _ in range(2):
        with pytest.raises(ItemsFailed, match="1 of 3 items failed; first: ValueError: slow and wrong"):
            batch.deliver()
    row = batch.row()
    assert (row.state, row.cause, row.outcomes) == (BatchState.DEAD, Cause.EXHAUSTED, "rrd")
    assert written(database) == [3]
    shown = batch.shown()
    assert (shown["state"], shown["items_done"], shown["items_failed"]) == ("failed", 1, 2)


def test_a_handler_with_a_cursor_of_its_own_goes_on_from_what_it_saved(make: Make, database: Database) -> None:
    seen: list[int | None] = []

    def handle(context: Batch) -> None:
        seen.append(context.saved)
        for number in context.items[context.saved or 0 :]:
            if context.remaining() < 3:
                context.continue_later()
            with context.transaction() as connection:
                write(connection, number)
                context.checkpoint(number)
            batch.clock.advance(2)

    batch = make(handle, count=10)
    assert batch.drain() == 3
    assert seen == [None, 4, 8]
    assert written(database) == batch.items
    assert batch.shown()["state"] == "completed"
    assert [attempt.outcome for attempt in batch.attempts()] == [Outcome.CONTINUED] * 2


def test_a_checkpoint_in_a_transaction_is_kept_only_with_it(make: Make, database: Database) -> None:
    seen: list[Any] = []

    def handle(context: Batch) -> None:
        seen.append(context.saved)
        context.checkpoint({"done": 1})
        with context.transaction() as connection:
            write(connection, 2)
            context.checkpoint({"done": 2})
            if len(seen) == 1:
                raise ValueError

    batch = make(handle)
    with pytest.raises(ValueError):
        batch.deliver()
    assert (batch.row().saved, written(database)) == ('{"done":1}', [])
    batch.deliver()
    assert seen == [None, {"done": 1}]
    assert (batch.row().saved, written(database)) == ('{"done":2}', [2])


def test_what_is_saved_is_seen_once_it_is_kept(make: Make) -> None:
    def handle(context: Batch) -> None:
        context.checkpoint(1)
        assert context.saved == 1
        with context.transaction():
            context.checkpoint(2)
            assert context.saved == 1
        assert context.saved == 2

    batch = make(handle)
    batch.deliver()
    assert batch.row().state is BatchState.DONE


def test_a_handler_and_its_items_see_their_time_fall(make: Make) -> None:
    seen: list[tuple[float, float, float]] = []

    def handle(context: Batch) -> None:
        def work(item: Any) -> None:
            batch.clock.advance(2)
            seen.append((item.remaining(), context.remaining(), item.now - context.now))

        context.for_each(work)

    batch = make(handle)
    batch.deliver()
    assert seen == [(8.0, 8.0, 0.0), (6.0, 6.0, 2.0), (4.0, 4.0, 4.0)]


@pytest.mark.parametrize(
    ("remaining", "slowest", "short"),
    [(3.1, 0.0, False), (2.9, 0.0, True), (10.1, 5.0, False), (9.9, 5.0, True), (-1.0, 0.0, True)],
)
def test_time_is_short_below_a_twentieth_of_the_limit_or_twice_the_slowest_item(
    remaining: float, slowest: float, short: bool
) -> None:
    assert time_is_short(remaining, limit=60.0, slowest=slowest) is short


letters = st.text(alphabet=[state.value for state in ItemState], min_size=1, max_size=20)


@given(letters)
def test_what_is_left_is_what_is_neither_done_nor_failed_and_untried_items_come_first(outcomes: str) -> None:
    left = left_of(outcomes)
    assert sorted(left) == [position for position, letter in enumerate(outcomes) if letter in ".r"]
    assert sorted((outcomes[position] for position in left), reverse=True) == [
        outcomes[position] for position in reversed(left)
    ]


@given(letters, st.data())
def test_an_attempt_that_tries_an_untried_item_or_ends_one_has_made_progress(outcomes: str, data: Any) -> None:
    left = left_of(outcomes)
    if not left:
        return
    position = data.draw(st.sampled_from(left))
    state = data.draw(st.sampled_from([ItemState.DONE, ItemState.RETRIED, ItemState.FAILED]))
    after = mark(outcomes, position, state)
    assert len(after) == len(outcomes)
    assert has_progressed(outcomes, after) is (after != outcomes)
    assert not has_progressed(after, outcomes)
