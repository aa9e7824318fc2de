"""Why a task that waits is not pushed yet."""

import math
from dataclasses import replace

import pytest

from headrace.engine.model import QueueState, Task
from headrace.engine.waiting import Reason, Situation, Waiting, explain
from tests.engine.harness import NOW, QUEUE, new_task

TASK = Task(1, QUEUE.name, "t", new_task("http://a").target, NOW, NOW, 600.0, 0, 0, 0, None, None, None)
FREE = Situation(QUEUE, NOW, in_flight=0, token_at=NOW)


def why(task: Task = TASK, situation: Situation = FREE, *, is_pushed: bool = False, is_held: bool = True) -> Waiting:
    return explain(task, situation, is_pushed=is_pushed, is_held=is_held)


def test_a_task_that_nothing_holds_back_is_next() -> None:
    assert why() == Waiting(Reason.TURN)


@pytest.mark.parametrize(
    ("state", "reason"), [(QueueState.PAUSED, Reason.PAUSED), (QueueState.DISABLED, Reason.DISABLED)]
)
def test_a_queue_that_does_not_run_holds_back_its_future_tasks_too(state: QueueState, reason: Reason) -> None:
    situation = replace(FREE, queue=replace(QUEUE, state=state))
    assert why(replace(TASK, schedule_at=NOW + 60), situation) == Waiting(reason)


def test_a_future_task_is_scheduled_and_one_that_was_pushed_waits_for_its_retry() -> None:
    future = replace(TASK, schedule_at=NOW + 60)
    assert why(future) == Waiting(Reason.SCHEDULED, NOW + 60)
    assert why(replace(future, dispatch_count=1)) == Waiting(Reason.BACKOFF, NOW + 60)


def test_a_due_task_waits_for_its_place_in_memory_then_for_room_then_for_a_token() -> None:
    full = replace(FREE, in_flight=QUEUE.rate.concurrency, token_at=NOW + 1)
    assert why(situation=full, is_held=False) == Waiting(Reason.UNREAD)
    assert why(situation=full) == Waiting(Reason.CONCURRENCY)
    assert why(situation=replace(full, in_flight=0)) == Waiting(Reason.TOKEN, NOW + 1)
    assert why(situation=replace(full, in_flight=0, token_at=math.inf)) == Waiting(Reason.TOKEN)


def test_a_push_under_way_says_so_whatever_else_holds() -> None:
    paused = replace(FREE, queue=replace(QUEUE, state=QueueState.PAUSED))
    assert why(situation=paused, is_pushed=True) == Waiting(Reason.PUSHED)
