"""What a handler says, and what becomes of its batch."""

from collections.abc import Callable

import pytest

from headrace.clock import ManualClock
from headrace.database import Database, attempt_rows, batch_rows
from headrace.database.attempt_rows import AttemptRow
from headrace.database.batch_rows import BatchRow
from headrace.database.states import BatchState, Cause, Outcome
from headrace.drivers.base import Push
from headrace.errors import Cancel, Conflict, PermanentFailure, Retry, Snooze
from headrace.execution.batch import Batch
from headrace.execution.verdicts import ERROR_KEPT, TRACE_KEPT
from headrace.retries import RetryLimits
from headrace.runs.names import parse_task_name
from tests.instance import Instance, Numbers, written
from tests.queue_in_memory import QueueInMemory

ITEMS = [1, 2, 3]
FIVE_RETRIES = RetryLimits(max_attempts=6, max_duration=0.0, min_backoff=1.0, max_backoff=60.0, max_doublings=5)


def only_push(queue: QueueInMemory) -> Push:
    (push,) = queue.tasks.values()
    return push


def begin(instance: Instance, application: Numbers, work: Callable[[Batch], None]) -> str:
    """A run of one batch, whose handler begins with `work`."""
    application.count, application.on_work = len(ITEMS), work
    return instance.start().run_id


def deliver(instance: Instance, queue: QueueInMemory, *, retry_count: int = 0) -> Push:
    """Deliver the one task on the queue; as a queue does, forget it when the answer is a success."""
    push = only_push(queue)
    instance.deliver(push, ITEMS, retry_count=retry_count)
    del queue.tasks[push.name]
    return push


def the_batch(instance: Instance, queue: QueueInMemory) -> BatchRow:
    name = parse_task_name(next(iter(queue.seen)))
    assert name is not None
    with instance.database.read() as connection:
        found = batch_rows.find_batch(connection, name.batch_id)
    assert found is not None
    return found


def the_attempts(instance: Instance, queue: QueueInMemory) -> list[AttemptRow]:
    with instance.database.read() as connection:
        return attempt_rows.attempts_of(connection, the_batch(instance, queue).id)


def raising(*errors: BaseException) -> Callable[[Batch], None]:
    """Work that raises these, one a call, and does nothing when there are no more of them."""
    left = list(errors)

    def work(_batch: Batch) -> None:
        if left:
            raise left.pop(0)

    return work


def test_a_batch_is_dead_only_when_its_last_try_has_failed_and_then_at_once(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, retry=FIVE_RETRIES)
    run_id = begin(instance, application, raising(*[ValueError(f"try {number}") for number in range(1, 7)]))
    push = only_push(queue)
    for retry in range(5):
        with pytest.raises(ValueError, match=f"try {retry + 1}"):
            instance.deliver(push, ITEMS, retry_count=retry)
        assert the_batch(instance, queue).state is BatchState.PUSHED
        assert instance.show(run_id)["state"] == "running"
    with pytest.raises(ValueError, match="try 6"):
        instance.deliver(push, ITEMS, retry_count=5)
    batch = the_batch(instance, queue)
    assert (batch.state, batch.cause, batch.error) == (BatchState.DEAD, Cause.EXHAUSTED, "ValueError: try 6")
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["dead"], shown["attempts"]) == ("failed", 1, 6)


def test_a_queue_that_delivers_a_dead_batch_again_is_answered_without_work(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application)
    begin(instance, application, raising(PermanentFailure("no such user")))
    push = deliver(instance, queue)
    instance.deliver(push, ITEMS, retry_count=1)
    assert application.calls == [ITEMS]
    assert the_batch(instance, queue).state is BatchState.DEAD


def test_with_two_limits_a_batch_is_tried_until_both_are_reached(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    both = RetryLimits(max_attempts=2, max_duration=300.0, min_backoff=1.0, max_backoff=60.0, max_doublings=5)
    instance = Instance(database, queue, clock, application, retry=both)
    begin(instance, application, raising(*[ValueError("no")] * 4))
    states = []
    for retry in range(4):
        with pytest.raises(ValueError, match="no"):
            instance.deliver(only_push(queue), ITEMS, retry_count=retry)
        states.append(the_batch(instance, queue).state)
        clock.advance(101)
    assert states == [BatchState.PUSHED, BatchState.PUSHED, BatchState.PUSHED, BatchState.DEAD]


def test_a_handler_that_asks_for_a_later_try_gets_it_then(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers, database: Database
) -> None:
    run_id = begin(instance, application, raising(Retry("vendor is busy", after=90)))
    deliver(instance, queue)
    assert only_push(queue).schedule_at == clock.now() + 90
    clock.advance(90)
    deliver(instance, queue)
    assert [(each.outcome, each.error) for each in the_attempts(instance, queue)] == [
        (Outcome.FAILED, "Retry: vendor is busy")
    ]
    assert [batch.attempt for batch in application.batches] == [1, 2]
    assert (instance.show(run_id)["state"], written(database)) == ("completed", ITEMS)


def test_a_snoozed_batch_comes_back_five_times_and_is_still_at_its_first_attempt(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    run_id = begin(instance, application, raising(*[Snooze(60, "the export is not ready")] * 5))
    for _ in range(5):
        deliver(instance, queue)
        assert only_push(queue).schedule_at == clock.now() + 60
        clock.advance(60)
    deliver(instance, queue)
    assert [batch.attempt for batch in application.batches] == [1] * 6
    shown = instance.show(run_id)
    assert (shown["state"], shown["attempts"], shown["retries"]) == ("completed", 1, 0)
    assert [each.outcome for each in the_attempts(instance, queue)] == [Outcome.SNOOZED] * 5


def test_a_handler_may_cancel_its_own_batch(instance: Instance, queue: QueueInMemory, application: Numbers) -> None:
    run_id = begin(instance, application, raising(Cancel("the user is gone")))
    deliver(instance, queue)
    batch = the_batch(instance, queue)
    assert (batch.state, batch.error) == (BatchState.CANCELLED, "Cancel: the user is gone")
    assert queue.tasks == {}
    assert instance.show(run_id)["tasks"]["cancelled"] == 1


@pytest.mark.parametrize("error", [PermanentFailure("bad id"), KeyError("ada")])
def test_a_permanent_failure_is_not_tried_again_and_its_fallback_is_called_once(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers, error: Exception
) -> None:
    compensated: list[list[int]] = []
    instance = Instance(
        database,
        queue,
        clock,
        application,
        permanent=(LookupError,),
        fallback=lambda batch: compensated.append(batch.items),
    )
    run_id = begin(instance, application, raising(error))
    push = deliver(instance, queue)
    instance.deliver(push, ITEMS)
    batch = the_batch(instance, queue)
    assert (batch.state, batch.cause) == (BatchState.DEAD, Cause.PERMANENT)
    assert [each.outcome for each in the_attempts(instance, queue)] == [Outcome.PERMANENT]
    assert (application.calls, compensated) == ([ITEMS], [ITEMS])
    shown = instance.show(run_id)
    assert (shown["state"], shown["attempts"]) == ("failed", 1)


def test_an_exhausted_batch_has_its_fallback_called_too(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    compensated: list[int] = []
    instance = Instance(
        database,
        queue,
        clock,
        application,
        retry=RetryLimits(max_attempts=2, max_duration=0.0, min_backoff=1.0, max_backoff=60.0, max_doublings=5),
        fallback=lambda batch: compensated.append(batch.attempt),
    )
    begin(instance, application, raising(ValueError("once"), ValueError("twice")))
    for retry in range(2):
        with pytest.raises(ValueError, match=r"once|twice"):
            instance.deliver(only_push(queue), ITEMS, retry_count=retry)
    assert compensated == [2]


def test_a_fallback_that_fails_leaves_the_batch_dead_and_its_error_beside_the_first(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    def fall_back(_batch: Batch) -> None:
        raise OSError("no disk")

    instance = Instance(database, queue, clock, application, fallback=fall_back)
    begin(instance, application, raising(PermanentFailure("bad id")))
    deliver(instance, queue)
    batch = the_batch(instance, queue)
    assert batch.state is BatchState.DEAD
    assert batch.error == "PermanentFailure: bad id\nIts fallback failed: OSError: no disk"


class _ProcessDied(BaseException):
    """Stands for the end of the process: nothing of ours runs after it."""


def test_a_fallback_whose_process_dies_is_called_again(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    called: list[int] = []

    def fall_back(batch: Batch) -> None:
        called.append(batch.attempt)
        if len(called) == 1:
            raise _ProcessDied

    instance = Instance(database, queue, clock, application, fallback=fall_back)
    begin(instance, application, raising(PermanentFailure("bad id"), PermanentFailure("bad id")))
    with pytest.raises(_ProcessDied):
        deliver(instance, queue)
    clock.advance(26)
    deliver(instance, queue)
    assert called == [1, 2]
    assert the_batch(instance, queue).state is BatchState.DEAD


def test_a_batch_whose_process_dies_three_times_is_dead_as_poison(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    run_id = begin(instance, application, raising(_ProcessDied(), _ProcessDied(), _ProcessDied()))
    for _ in range(2):
        with pytest.raises(_ProcessDied):
            deliver(instance, queue)
        clock.advance(26)
    deliver(instance, queue)
    assert len(application.calls) == 2, "lost twice, it is put off"
    again = only_push(queue)
    assert again.schedule_at is not None
    assert clock.now() <= again.schedule_at <= clock.now() + 20
    with pytest.raises(_ProcessDied):
        deliver(instance, queue)
    clock.advance(26)
    deliver(instance, queue)
    batch = the_batch(instance, queue)
    assert (batch.state, batch.cause, len(application.calls)) == (BatchState.DEAD, Cause.POISON, 3)
    assert [each.outcome for each in the_attempts(instance, queue)] == [Outcome.LOST] * 3
    assert instance.show(run_id)["state"] == "failed"


def test_a_warning_is_kept_and_nothing_is_tried_again(
    instance: Instance, queue: QueueInMemory, application: Numbers
) -> None:
    run_id = begin(instance, application, lambda batch: batch.warn("two users have no address"))
    deliver(instance, queue)
    batch = the_batch(instance, queue)
    assert (batch.state, batch.error) == (BatchState.DONE, "two users have no address")
    (attempt,) = the_attempts(instance, queue)
    assert (attempt.outcome, attempt.error) == (Outcome.WARNED, "two users have no address")
    shown = instance.show(run_id)
    assert (shown["state"], shown["attempts"], shown["retries"]) == ("completed", 1, 0)


def test_what_a_handler_returns_is_kept(instance: Instance, queue: QueueInMemory, application: Numbers) -> None:
    object.__setattr__(instance.handler, "function", lambda batch: {"granted": len(batch.items)})
    application.count = 3
    instance.start()
    deliver(instance, queue)
    batch = the_batch(instance, queue)
    assert (batch.state, batch.result) == (BatchState.DONE, '{"granted":3}')


def test_every_attempt_keeps_its_time_error_and_trace_within_bounds(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    begin(instance, application, raising(KeyError("ada"), ValueError("x" * 100_000)))
    began = int(clock.now() * 1000)
    for retry, error in enumerate((KeyError, ValueError)):
        with pytest.raises(error):
            instance.deliver(only_push(queue), ITEMS, retry_count=retry)
        clock.advance(7)
    first, second = the_attempts(instance, queue)
    assert (first.number, first.started_at, first.ended_at) == (1, began, began)
    assert (second.number, second.started_at, second.ended_at) == (2, began + 7_000, began + 7_000)
    assert first.error == "KeyError: 'ada'"
    assert "in work" in first.trace
    assert "KeyError: 'ada'" in first.trace
    assert (len(second.error), len(second.trace)) == (ERROR_KEPT, TRACE_KEPT)


def test_an_error_of_characters_that_databases_refuse_is_kept_all_the_same(
    instance: Instance, queue: QueueInMemory, application: Numbers
) -> None:
    begin(instance, application, raising(ValueError("a\0b\ud800")))
    with pytest.raises(ValueError, match="a"):
        deliver(instance, queue)
    assert [each.error for each in the_attempts(instance, queue)] == ["ValueError: a\\x00b\\ud800"]


def test_a_queue_that_gives_up_for_deliveries_that_met_a_lease_costs_the_batch_no_try(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    three_tries = RetryLimits(max_attempts=3, max_duration=0.0, min_backoff=10.0, max_backoff=60.0, max_doublings=5)
    instance = Instance(database, queue, clock, application, retry=three_tries)

    def meet(batch: Batch) -> None:
        if batch.attempt == 1:
            for retry in (1, 2):
                with pytest.raises(Conflict):
                    instance.deliver(only_push(queue), ITEMS, retry_count=retry)
            raise _ProcessDied
        if batch.attempt == 2:
            raise ValueError("the queue's last delivery")

    run_id = begin(instance, application, meet)
    with pytest.raises(_ProcessDied):
        deliver(instance, queue)
    clock.advance(26)
    first = deliver(instance, queue, retry_count=2)
    second = only_push(queue)
    assert second.name != first.name
    assert second.schedule_at == pytest.approx(clock.now() + 10, abs=1.001)
    deliver(instance, queue)
    assert [batch.attempt for batch in application.batches] == [1, 2, 3]
    assert instance.show(run_id)["state"] == "completed"
