"""Attempts past their time limit: ended, fenced off, and reported when their handlers do not stop."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from headrace.clock import ManualClock
from headrace.contract.operations import OnTimeout
from headrace.database import Database
from headrace.database.states import BatchState, Cause, Outcome
from headrace.errors import LostLease
from headrace.execution.batch import Batch
from headrace.execution.watchdog import Watchdog
from headrace.retries import RetryLimits
from tests.execution.test_outcomes import ITEMS, deliver, only_push, the_attempts, the_batch
from tests.instance import Instance, Numbers, written
from tests.queue_in_memory import QueueInMemory

GRACE = 30.0
PATIENCE = 20.0
ONE_TRY = RetryLimits(max_attempts=1, max_duration=0.0, min_backoff=1.0, max_backoff=60.0, max_doublings=5)


@dataclass
class Endless:
    """A handler whose first call goes on until it is let go, then does `then` with its batch."""

    then: Callable[[Batch], None] = lambda batch: None
    begun: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, batch: Batch) -> None:
        if not self.begun.is_set():
            self.begun.set()
            assert self.let_go.wait(PATIENCE)
            self.then(batch)


@contextmanager
def at_work(instance: Instance, queue: QueueInMemory, application: Numbers, endless: Endless) -> Iterator[list[str]]:
    """A delivery whose handler is at work in the block, and let go behind it; the class of what it raised."""
    application.count, application.on_work = len(ITEMS), endless
    instance.start()
    raised: list[str] = []

    def execute() -> None:
        try:
            deliver(instance, queue)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            raised.append(type(error).__name__)

    thread = threading.Thread(target=execute)
    thread.start()
    assert endless.begun.wait(PATIENCE)
    try:
        yield raised
    finally:
        endless.let_go.set()
        thread.join(PATIENCE)


def look(watchdog: Watchdog, recycle: Callable[[], object] | None = None) -> int:
    """Look once, and wait until what is overdue has ended; how many that were."""
    threads = watchdog.look(recycle)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return len(threads)


@pytest.fixture
def watchdog(instance: Instance, clock: ManualClock) -> Watchdog:
    return Watchdog(instance.executor, clock, grace=GRACE)


def test_an_endless_attempt_is_timed_out_at_its_limit_and_its_batch_is_free_at_once(
    instance: Instance,
    queue: QueueInMemory,
    application: Numbers,
    clock: ManualClock,
    watchdog: Watchdog,
    database: Database,
) -> None:
    with at_work(instance, queue, application, Endless()) as raised:
        first = only_push(queue)
        clock.advance(9.9)
        assert look(watchdog) == 0
        clock.advance(0.1)
        assert look(watchdog) == 1
        assert look(watchdog) == 0, "it is ended once"
        (attempt,) = the_attempts(instance, queue)
        assert (attempt.outcome, attempt.error) == (
            Outcome.TIMED_OUT,
            "The attempt passed its time limit of 10 s.",
        )
        assert (attempt.ended_at - attempt.started_at) / 1000 == pytest.approx(10)
        (again,) = [push for push in queue.tasks.values() if push is not first]
        instance.deliver(again, ITEMS)
        assert the_batch(instance, queue).state is BatchState.DONE
        assert written(database) == ITEMS
    assert raised == ["LostLease"]
    assert written(database) == ITEMS, "nothing of the late handler was kept"
    assert [batch.attempt for batch in application.batches] == [1, 2]


def test_an_attempt_within_its_limit_is_left_alone(
    instance: Instance, queue: QueueInMemory, application: Numbers, clock: ManualClock, watchdog: Watchdog
) -> None:
    with at_work(instance, queue, application, Endless()) as raised:
        clock.advance(9)
        assert look(watchdog) == 0
    assert raised == []
    assert the_batch(instance, queue).state is BatchState.DONE
    clock.advance(100)
    assert look(watchdog) == 0, "an attempt that has ended is not looked at"


def test_a_handler_that_goes_on_past_the_grace_is_reported_and_its_process_recycled(
    instance: Instance, queue: QueueInMemory, application: Numbers, clock: ManualClock, watchdog: Watchdog
) -> None:
    recycled: list[float] = []

    def recycle() -> None:
        recycled.append(clock.now())

    with at_work(instance, queue, application, Endless()), capture_logs() as lines:
        clock.advance(10)
        look(watchdog, recycle)
        clock.advance(GRACE - 0.1)
        look(watchdog, recycle)
        assert (recycled, [line for line in lines if line["log_level"] == "error"]) == ([], [])
        clock.advance(0.1)
        look(watchdog, recycle)
        look(watchdog, recycle)
        assert recycled == [clock.now()]
        (line,) = [line for line in lines if line["log_level"] == "error"]
        batch = application.batches[0]
        assert line["event"] == "attempt is stuck"
        assert (line["run_id"], line["batch"], line["attempt"]) == (batch.run_id, batch.number, batch.attempt)
        assert line["seconds_past_limit"] == GRACE


def test_an_attempt_that_holds_the_database_does_not_keep_the_watchdog_from_reporting_it(
    instance: Instance, queue: QueueInMemory, application: Numbers, clock: ManualClock, watchdog: Watchdog
) -> None:
    recycled: list[float] = []

    def recycle() -> None:
        recycled.append(clock.now())

    inside, let_go = threading.Event(), threading.Event()

    def hold(batch: Batch) -> None:
        with batch.transaction(completes=True):
            inside.set()
            assert let_go.wait(PATIENCE)

    endless = Endless(hold)
    with at_work(instance, queue, application, endless):
        endless.let_go.set()
        assert inside.wait(PATIENCE)
        clock.advance(10)
        (waiting,) = watchdog.look(recycle)
        clock.advance(GRACE)
        watchdog.look(recycle)
        assert recycled == [clock.now()]
        assert waiting.is_alive(), "it waits for the transaction, and nobody waits for it"
        let_go.set()
        waiting.join(PATIENCE)
    assert the_batch(instance, queue).state is BatchState.DONE, "what committed first counts"


@pytest.mark.parametrize(
    ("given", "state", "cause"),
    [
        ({"on_timeout": OnTimeout.FAIL}, BatchState.DEAD, Cause.TIMED_OUT),
        ({"retry": ONE_TRY}, BatchState.DEAD, Cause.EXHAUSTED),
        ({"idempotent": False}, BatchState.UNDECIDED, ""),
    ],
)
def test_what_a_time_out_comes_to_is_the_contracts_word(
    database: Database,
    queue: QueueInMemory,
    clock: ManualClock,
    application: Numbers,
    given: dict[str, object],
    state: BatchState,
    cause: str,
) -> None:
    instance = Instance(database, queue, clock, application, **given)  # type: ignore[arg-type]
    watchdog = Watchdog(instance.executor, clock, grace=GRACE)
    with at_work(instance, queue, application, Endless()) as raised:
        clock.advance(10)
        look(watchdog)
        batch = the_batch(instance, queue)
        assert (batch.state, batch.cause) == (state, cause)
    assert raised == ["LostLease"]
    assert [each.outcome for each in the_attempts(instance, queue)] == [Outcome.TIMED_OUT]


def test_the_fallback_of_a_time_out_writes_and_its_late_handler_does_not(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    refused: list[str] = []

    def write(batch: Batch, number: int) -> None:
        with batch.transaction() as connection:
            connection.execute(text("INSERT INTO written (number, run) VALUES (:number, '')"), {"number": number})

    def write_late(batch: Batch) -> None:
        with pytest.raises(LostLease) as caught:
            write(batch, 1)
        refused.append(str(caught.value))
        raise ValueError("never mind")

    def fall_back(batch: Batch) -> None:
        assert batch.remaining() == 10, "it has a time limit of its own"
        endless.let_go.set()
        write(batch, 77)

    endless = Endless(write_late)
    instance = Instance(database, queue, clock, application, on_timeout=OnTimeout.FAIL, fallback=fall_back)
    watchdog = Watchdog(instance.executor, clock, grace=GRACE)
    with at_work(instance, queue, application, endless):
        clock.advance(10)
        assert look(watchdog) == 1
    assert written(database) == [77]
    assert len(refused) == 1
    assert the_batch(instance, queue).cause == Cause.TIMED_OUT


def test_an_attempt_that_another_one_has_followed_is_reported_when_it_is_stuck_and_ends_nothing(
    instance: Instance, queue: QueueInMemory, application: Numbers, clock: ManualClock, watchdog: Watchdog
) -> None:
    with at_work(instance, queue, application, Endless()), capture_logs() as lines:
        clock.advance(26)
        push = only_push(queue)
        instance.deliver(push, ITEMS)
        look(watchdog)
        clock.advance(GRACE)
        look(watchdog)
        assert [line["attempt"] for line in lines if line["event"] == "attempt is stuck"] == [1]
    assert [each.outcome for each in the_attempts(instance, queue)] == [Outcome.LOST]
    assert the_batch(instance, queue).state is BatchState.DONE


def test_a_database_that_cannot_be_reached_is_told_and_the_lease_ends_it_later(
    instance: Instance,
    queue: QueueInMemory,
    application: Numbers,
    clock: ManualClock,
    watchdog: Watchdog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError("the database is away")

    with at_work(instance, queue, application, Endless()), capture_logs() as lines:
        clock.advance(10)
        with monkeypatch.context() as patched:
            patched.setattr(Database, "write_together", fail)
            look(watchdog)
        assert [line["event"] for line in lines] == ["attempt could not be timed out"]
        clock.advance(15)
        assert instance.sweeps.reap() == {"reaped": 1}
